"""Label Studio's result JSON for a comparison, read and written. Shapes are measured on label-studio 1.23.2."""

from collections.abc import Sequence
from typing import Any, Literal

from preference.layout import LabelingLayout

Side = Literal["left", "right"]
Region = dict[str, Any]


class Pairwise:
    """The <Pairwise> control: which of two answers is better."""

    @staticmethod
    def suggestion(layout: LabelingLayout, rewards: Sequence[float]) -> list[Region]:
        """The regions that preselect the answer with the higher reward and show both rewards.

        `to_name` is the first answer's tag: Label Studio's validation refuses the control's own name, which is what
        its editor writes, and preselects nothing for "answer1,answer2".
        """
        side: Side = "left" if rewards[0] >= rewards[1] else "right"
        regions = [_region(layout.control, layout.answer_tags[0], "pairwise", {"selected": side})]
        for tag, reward in zip(layout.reward_tags, rewards, strict=True):
            if tag is not None:
                regions.append(_region(tag.name, tag.to_name, "number", {"number": round(reward, 3)}))
        return regions

    @staticmethod
    def choice(layout: LabelingLayout, result: Sequence[Region]) -> Side | None:
        """The side that a result names, or None where it names none.

        `to_name` is not looked at: by hand it is the control's name, from a prediction the first answer's.
        """
        for region in result:
            if region.get("from_name") == layout.control and region.get("type") == "pairwise":
                selected = (region.get("value") or {}).get("selected")
                if selected == "left" or selected == "right":
                    return "left" if selected == "left" else "right"
        return None


CONTROLS = {"Pairwise": Pairwise}


def _region(from_name: str, to_name: str, kind: str, value: dict[str, object]) -> Region:
    return {"from_name": from_name, "to_name": to_name, "type": kind, "value": value}
