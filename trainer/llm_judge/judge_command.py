"""`pairloop-trainer judge`."""

import click

from preference.commands.command_line import PROJECT, begin, refusals
from preference.formatting import between, per_cent
from preference.heavy_imports import heavy_imports
from preference.projects.folder import ProjectFolder
from preference.report_card.raters import RaterFigures
from preference.report_card.shares import Share
from preference.settings import Settings
from trainer.torch_setup import extractors_of


@click.command()
@PROJECT
@click.option("--model", required=True, help="Its name on the server.")
@click.option("--url", help="The server's address, with its /v1, in place of OPENAI_BASE_URL.")
def judge(project_id: int, model: str, url: str | None) -> None:
    """Have an LLM judge the held-out comparisons, beside people."""
    settings = begin()
    with refusals():
        figures = _rated(settings, project_id, model, url)
    for line in sentences(figures):
        click.echo(f"project {project_id}: {line}")


def sentences(figures: RaterFigures) -> list[str]:
    """What is known of a rater, in words."""
    silent = [
        f"{count} {what}" for count, what in ((figures.num_unreadable, "unreadable"), (figures.num_refused, "refused")) if count
    ]
    ties = f", {figures.num_ties} of them ties" if figures.num_ties else ""
    lines = [
        f"{figures.rater} agrees with people on {_in_words(figures.agreement)} held-out comparisons{ties}"
        + (f"; without {' and '.join(silent)}" if silent else "")
    ]
    if figures.champion_accuracy.value is not None:
        lines.append(f"the champion {figures.champion} agrees with people on {_in_words(figures.champion_accuracy)} of these")
    if figures.people.value is not None:
        lines.append(f"two annotators agree on {_in_words(figures.people)} comparisons")
    return lines


def _in_words(share: Share) -> str:
    if share.value is None:
        return f"none of {share.count or 0}"
    interval = f" (95 % interval {between(share.interval)})" if share.interval else ""
    return f"{per_cent(share.value)}{interval} of {share.count}"


def _rated(settings: Settings, project_id: int, model: str, url: str | None) -> RaterFigures:
    extractors = extractors_of(settings)
    with heavy_imports():
        from preference.generation.openai_server import OpenAIServer
        from preference.studio.project import LabelStudioProject
        from trainer.llm_judge.rate import rate
        from trainer.llm_judge.rater import Rater
        from trainer.rounds.context import RoundContext

    openai = settings.openai.model_copy(update={"base_url": url.rstrip("/")} if url else {})
    server = OpenAIServer(openai, model_name="--model", url_name="--url")
    rater = Rater(
        server,
        model,
        thinking_tokens=settings.generator.max_thinking_tokens,
        template_options=settings.generator.template_options,
    )
    project, folder = LabelStudioProject.for_command(settings.studio, project_id), ProjectFolder(settings.model_dir, project_id)
    return rate(RoundContext(project, folder, settings, extractors), rater)
