"""Which field of a task's data a version took for which answer, and a label config that takes them the other way round.

A judgement names a side, and not what stood there: if the answers change places, every earlier judgement counts for the other one.
Not covered: versions of build e08322f, whose cards do not name the fields; two fields that both became others.
"""

from collections.abc import Iterable
from typing import TYPE_CHECKING

from preference.errors import LayoutError
from preference.labelling.label_config import LabelingLayout

if TYPE_CHECKING:
    from preference.report_card.card import ReportCard


def fields_of(layout: LabelingLayout) -> dict[str, str]:
    """What a card keeps of a layout: the fields of "prompt", and of "left" and "right" for the answers."""
    left, right = layout.answer_fields
    return {"prompt": layout.prompt_field, "left": left, "right": right}


def check_sides(layout: LabelingLayout, cards: Iterable["ReportCard"]) -> None:
    """Refuses a layout whose answers changed places since the latest version. `cards`: of all versions, latest first.

    Raises:
        LayoutError: they did.
    """
    left, right = layout.answer_fields
    card = next((card for card in cards if card.fields), None)
    if card is not None and (card.fields.get("left"), card.fields.get("right")) == (right, left):
        raise LayoutError(
            f"The label config shows ${left} as the left answer and ${right} as the right one, and did the reverse when {card.version} "
            "was trained: each earlier judgement would count for the other answer. Change that back, and judge anew what was judged since."
        )
