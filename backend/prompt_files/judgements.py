"""What a file says of two answers, as the regions that Label Studio's editor makes of it."""

from typing import Any

from preference.labelling.controls.verdict import Meaning
from preference.labelling.label_config import LabelingLayout
from preference.studio.task import Annotation

META_KEY = "pairloop_import"  # what the file says, of a task that is to be judged anew


def judgement(layout: LabelingLayout, choice: Meaning) -> Annotation | None:
    """The annotation that says so; None if the label config has no box for it."""
    if choice in ("left", "right") and layout.ranker is not None:
        if layout.ranker.buckets:  # how good the better one is, nobody said
            return None
        ids = list("ab" if choice == "left" else "ba")  # as `items_of` names them
        return annotation([region(layout, layout.control, {"ranker": {layout.control: ids}})])
    if choice in ("left", "right"):
        return annotation([region(layout, layout.control, {"selected": choice})])
    texts = layout.verdict.texts(choice) if layout.verdict else []
    # The alias, which results hold, comes last.
    return annotation([region(layout, "verdict", {"choices": [texts[-1]]})]) if texts else None


def annotation(result: list[dict[str, Any]], **fields: Any) -> Annotation:
    """One as Label Studio imports it; without `ground_truth` it would take it for one."""
    return {"result": result, "ground_truth": False, "was_cancelled": False, **fields}  # type: ignore[typeddict-item]


def region(layout: LabelingLayout, control: str, value: dict[str, Any]) -> dict[str, Any]:
    """A region of that control: by hand, a <Pairwise> writes its own name as the tag."""
    kind, tag = layout.controls[control]
    return {"from_name": control, "to_name": control if kind == "pairwise" else tag, "type": kind, "value": value}
