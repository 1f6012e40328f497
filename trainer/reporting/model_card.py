"""README.md of a version, for people, in the form of a Hugging Face model card."""

from collections.abc import Sequence
from pathlib import Path

from huggingface_hub import EvalResult, ModelCardData
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from preference.commands.cells import Section
from preference.models.files import title
from preference.report_card.card import ReportCard
from preference.report_card.cautions import cautions
from trainer.reporting.picture_files import Picture
from trainer.reporting.tables import sections


def model_card(card: ReportCard, pictures: Sequence[Picture] = ()) -> str:
    """The README.md of a version, with the pictures that lie beside it."""
    metadata = front_matter(card.project_id, card.metrics.accuracy, library="pairloop")
    first, *others = sections(card)
    folder = FileSystemLoader(Path(__file__).parent / "templates")
    template = Environment(loader=folder, undefined=StrictUndefined, autoescape=False).get_template("README.md.jinja")  # noqa: S701 - Markdown, not HTML
    text = template.render(
        card=card,
        cautions=cautions(card),
        base=title(card.base),
        metadata=metadata,
        accuracy=_markdown(first),
        others=[(section.title, _markdown(section)) for section in others],
        pictures=pictures,
    )
    return text.rstrip() + "\n"


def front_matter(project_id: int, accuracy: float | None, *, library: str) -> str:
    """The YAML at the head of a model card. `accuracy`: on the project's held-out comparisons; `library`: what loads the model."""
    result = EvalResult(
        task_type="text-classification",
        task_name="Preference between two answers",
        dataset_type="label-studio",
        dataset_name=f"Held-out comparisons of Label Studio project {project_id}",
        dataset_split="holdout",
        metric_type="accuracy",
        metric_name="Pairwise accuracy",
        metric_value=accuracy,
    )
    return ModelCardData(
        library_name=library,
        tags=["reward-model", "preference", "label-studio", *(["pairloop"] if library != "pairloop" else [])],
        pipeline_tag="text-classification",
        model_name=f"pairloop-project-{project_id}",
        eval_results=[result] if accuracy is not None else None,
    ).to_yaml()


def _markdown(section: Section) -> str:
    lines = [section.header, ("---",) * len(section.header), *section.rows]
    return "\n".join(f"| {' | '.join(_cell(cell) for cell in line)} |".replace("|  |", "| |") for line in lines)


def _cell(text: str) -> str:
    return f"[open]({text})" if text.startswith("http") else " ".join(text.split()).replace("|", "\\|")
