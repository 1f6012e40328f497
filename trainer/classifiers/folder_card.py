"""README.md of an exported model, in the form of a Hugging Face model card."""

from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from preference.models.files import EMBEDDED, title
from preference.report_card.card import ReportCard
from trainer.classifiers.side_by_side import SideBySide, figure_rows
from trainer.reporting.model_card import front_matter

_TEMPLATE = Path(__file__).parent / "templates" / "model.md.jinja"


def folder_card(card: ReportCard, figures: SideBySide, *, is_the_version: bool, name: str, needs_base: bool) -> str:
    """The text.

    `name`: what its scripts load: "." for the folder itself, or the id that it has on the Hub. `needs_base`: whether the version needs
    a base that is named without its place.
    """
    metadata = front_matter(card.project_id, figures.exported.value, library="transformers")
    return rendered(
        _TEMPLATE, card=card, base=title(card.base), figures=figures, is_the_version=is_the_version, name=name,
        metadata=metadata, rows=figure_rows(figures), is_embedded=card.base == EMBEDDED, needs_base=needs_base,
    )  # fmt: skip


def rendered(template: Path, **values: object) -> str:
    """A README.md made of a template."""
    folder = FileSystemLoader(template.parent)
    environment = Environment(loader=folder, undefined=StrictUndefined, autoescape=False, trim_blocks=True)  # noqa: S701 - Markdown, not HTML
    return environment.get_template(template.name).render(**values).rstrip() + "\n"
