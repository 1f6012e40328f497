"""`pairloop-trainer export`."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from preference.commands.command_line import PROJECT, begin, refusals
from preference.errors import PairloopError
from preference.formatting import plural
from preference.heavy_imports import heavy_imports
from preference.projects.folder import ProjectFolder
from trainer.torch_setup import extractors_of

if TYPE_CHECKING:
    from trainer.exporting.export import Exported


@click.command()
@PROJECT
@click.option(
    "--format",
    "format_name",
    type=click.Choice(["trl", "dpo", "kto", "sft", "hindsight", "prompts", "csv", "model"]),
    default="trl",
    show_default=True,
    help="Pairs for TRL's RewardTrainer and DPOTrainer (trl; dpo is another name of it), answers that are good or bad (kto), written "
    "answers (sft), both answers in one text (hindsight), prompts alone (prompts), everything (csv), or the reward model itself (model).",
)
@click.option(
    "--out",
    "path",
    type=click.Path(path_type=Path),
    required=True,
    help="The file: .jsonl, .parquet, or .csv for csv; a new folder for model.",
)
@click.option("--conversational", is_flag=True, help="Texts as lists of messages, for models with a chat template.")
@click.option("--chosen", is_flag=True, help="With --format sft: also answers that people chose, not only written ones.")
@click.option(
    "--aggregate", type=click.Choice(["majority"]), help="One vote for each comparison, as most people went; otherwise each vote."
)
@click.option(
    "--min-agreement",
    type=click.FloatRange(0, 1),
    metavar="SHARE",
    default=0.0,
    help="Only comparisons of which at least this share of the votes went one way, such as 0.8.",
)
@click.option(
    "--where", "conditions", multiple=True, metavar="CONDITION",
    help="Only judgements of which it is so: clarity=Clear, relevance>=3 (=, !=, >=, <=, >, <). May be repeated.",
)  # fmt: skip
@click.option(
    "--certified", is_flag=True,
    help="The champion's side of open tasks that a certificate covers, and nobody's judgement; with --format trl, dpo or csv.",
)  # fmt: skip
@click.option("--version", metavar="VERSION", help="With --format model: this version, such as v3, instead of the champion.")
def export(
    project_id: int, format_name: str, path: Path, conversational: bool, chosen: bool, aggregate: str | None, min_agreement: float,
    conditions: tuple[str, ...], certified: bool, version: str | None,
) -> None:  # fmt: skip
    """Write the judgements, or the reward model, for other programs."""
    of_judgements = chosen or aggregate or min_agreement or conditions
    if certified:
        if of_judgements or version or format_name not in ("trl", "dpo", "csv"):
            raise click.UsageError(
                "--certified writes the model's side of tasks that nobody judged: with --format trl, dpo or csv, and of the options "
                "only --conversational goes with it."
            )
        _export_certified(project_id, "csv" if format_name == "csv" else "trl", path, conversational=conversational)
        return
    if format_name == "model":
        if of_judgements or conversational:
            raise click.UsageError("--format model writes the reward model; only --version goes with it.")
        _export_model(project_id, path, version)
        return
    if version:
        raise click.UsageError("--version goes with --format model.")
    from preference.labelling.controls.criteria import Condition, applying
    from preference.labelling.demonstrations import DemonstrationLayout
    from preference.labelling.layouts import layout_of
    from preference.projects.answer_sides import check_sides
    from preference.projects.guidelines import Guidelines
    from preference.studio.project import LabelStudioProject
    from trainer.exporting.demonstrations import export_demonstrations
    from trainer.exporting.export import check_path, export_judgements, export_prompts
    from trainer.rounds.reading import holdout_now
    from trainer.rounds.reading_context import ReadingContext

    if chosen and format_name != "sft":
        raise click.UsageError("--chosen goes with --format sft.")
    if format_name == "prompts" and (aggregate or min_agreement or conditions):
        raise click.UsageError(
            "--aggregate, --min-agreement and --where are about judgements; --format prompts writes all prompts."
        )
    try:
        where = [Condition.parse(text) for text in conditions]
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--where") from None
    settings = begin()
    project = LabelStudioProject.for_command(settings.studio, project_id)
    context = ReadingContext(project, ProjectFolder(settings.model_dir, project_id), settings)
    try:
        kind: Any = "trl" if format_name == "dpo" else format_name
        check_path(path, format_name=kind, conversational=conversational)
        layout = layout_of(project.read()["label_config"])
        rows: dict[str, Any] = {
            "conversational": conversational,
            "holdout": holdout_now(context),
        }
        asked: dict[str, Any] = {
            **rows,
            "format_name": kind,
            "guidelines": Guidelines.read(context.folder),
            "prefer_ground_truth": settings.training.prefer_ground_truth,
            "where": where or applying(settings.training.judgements_where, layout.criteria),
        }
        if kind == "prompts":
            written = export_prompts(project.all_tasks(), path, layout=layout, **rows)
        elif isinstance(layout, DemonstrationLayout):
            if chosen or aggregate or min_agreement:
                raise click.UsageError("--chosen, --aggregate and --min-agreement are about comparisons; this project has none.")
            written = export_demonstrations(project.annotated_tasks(), path, layout=layout, **asked)
        else:
            check_sides(layout, context.cards)
            votes: dict[str, Any] = {"chosen": chosen, "aggregate": aggregate is not None, "min_agreement": min_agreement}
            written = export_judgements(project.annotated_tasks(), path, layout=layout, **asked, **votes)
    except PairloopError as error:
        raise click.ClickException(str(error)) from None
    click.echo(f"project {project_id}: {_in_words(written, path)}")


def _in_words(written: "Exported", path: Path) -> str:
    counts = f"{written.num_train} {plural(written.num_train, 'row')} to train on and {written.num_holdout} held out"
    counts += f", {written.num_unused} for neither," if written.num_unused else ""
    excluded = ", ".join(f"{count} {reason}" for reason, count in written.excluded.most_common()) or "nothing"
    return f"{counts} are in {path}; excluded: {excluded}"


def _export_certified(project_id: int, format_name: Any, path: Path, *, conversational: bool) -> None:
    settings = begin()
    extractors = extractors_of(settings)
    with heavy_imports():
        from preference.studio.project import LabelStudioProject
        from trainer.certifying.covered_tasks import covered_tasks
        from trainer.exporting.certified_export import export_certified
        from trainer.exporting.export import check_path
        from trainer.rounds.context import RoundContext

    project, folder = LabelStudioProject.for_command(settings.studio, project_id), ProjectFolder(settings.model_dir, project_id)
    with refusals():
        check_path(path, format_name=format_name, conversational=conversational)
        covered = covered_tasks(RoundContext(project, folder, settings, extractors))
        written = export_certified(covered, path, conversational=conversational)
    click.echo(
        f"project {project_id}: by {covered.certificate.name}, the model's and nobody's judgements: {_in_words(written, path)}"
    )


def _export_model(project_id: int, path: Path, version: str | None) -> None:
    settings = begin()
    extractors = extractors_of(settings)
    from preference.studio.project import LabelStudioProject
    from trainer.classifiers.project_model import export_version

    project, folder = LabelStudioProject.for_command(settings.studio, project_id), ProjectFolder(settings.model_dir, project_id)
    with refusals():
        exported = export_version(project, folder, settings, path, extractors=extractors, version=version)
    click.echo(f"project {project_id}: {exported} is in {path}")
