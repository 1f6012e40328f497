"""Which field of a task's data a version took for which answer, and a label config that takes them the other way round.

A judgement names a side, and not what stood there: if the answers change places, every earlier judgement counts for the other one.
Not covered: versions of build e08322f, whose cards do not name the fields; two fields that both became others.
"""

from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from preference.errors import LayoutError
from preference.labelling.label_config import LabelingLayout
from preference.projects.folder import ProjectFolder
from preference.projects.versions import Versions

if TYPE_CHECKING:
    from preference.report_card.card import ReportCard


def fields_of(layout: LabelingLayout) -> dict[str, str]:
    """What a card keeps of a layout: the fields of "prompt", if there is one, and of "left" and "right" for the answers, or of "items" for a list."""
    names = ("left", "right") if layout.ranker is None else ("items",)
    prompt = {"prompt": layout.prompt_field} if layout.prompt_field is not None else {}
    return {**prompt, **dict(zip(names, layout.answer_fields, strict=True))}


def check_sides(layout: LabelingLayout, cards: Iterable["ReportCard"]) -> None:
    """Refuses a layout whose answers changed places since the latest version. `cards`: of all versions, latest first.

    Raises:
        LayoutError: they did.
    """
    if layout.ranker is not None:  # a ranking names the answers themselves
        return
    left, right = layout.answer_fields
    card = next((card for card in cards if card.fields), None)
    if card is not None and (card.fields.get("left"), card.fields.get("right")) == (right, left):
        raise LayoutError(
            f"The label config shows ${left} as the left answer and ${right} as the right one, and did the reverse when {card.version} "
            "was trained: each earlier judgement would count for the other answer. Change that back, and judge anew what was judged since."
        )


def latest_with_fields(versions: Versions) -> list["ReportCard"]:
    """The latest card that names the fields, if one does.

    For those who ask every few seconds: cards are read again only if the latest version is another, or its card was written anew.
    """
    latest = next(reversed(versions.all()), None)
    if latest is None:
        return []
    changed = (versions.path(latest) / "card.json").stat().st_mtime_ns
    card = _read_latest_with_fields(versions.folder.path, latest, changed)
    return [card] if card is not None else []


@lru_cache(maxsize=100)  # projects
def _read_latest_with_fields(folder: Path, latest: str, changed: int) -> "ReportCard | None":
    versions = Versions(ProjectFolder(folder.parent.parent, int(folder.name)))
    return next((card for card in versions.cards(logs_damaged=False) if card.fields), None)
