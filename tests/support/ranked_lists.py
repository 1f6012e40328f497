"""Lists of answers that people put into an order, and the label configs that show them."""

from collections.abc import Sequence
from typing import Any

from preference.labelling.controls.ranker import items_of
from preference.labelling.label_config import LabelingLayout

PROMPT = '<Text name="prompt" value="$prompt"/>'
LIST = '<List name="answers" value="$items" title="Answers"/>'
ORDER = f'<View>{PROMPT}{LIST}<Ranker name="rank" toName="answers"/></View>'
# The tags of the template "LLM Ranker" of label-studio 1.23.2, by their names and titles.
TEMPLATE = f"""<View><View><Header value="Task: "/><Text name="task" value="$task"/></View>
  <View><Header value="Prompt: "/>{PROMPT}</View>{LIST.replace('title="Answers"', 'title="All Results"')}
  <Ranker name="rank" toName="answers">
    <Bucket name="relevant_results" title="Relevant Results"/><Bucket name="biased_results" title="Biased Results"/>
  </Ranker></View>"""
ORDERED, SORTED = (LabelingLayout.from_label_config(config) for config in (ORDER, TEMPLATE))


def ranking(columns: dict[str, list[str]] | Sequence[str], *more: dict[str, Any], **fields: Any) -> dict[str, Any]:
    """An annotation as label-studio 1.23.2 lists it: an order of ids, or ids by bucket."""
    value = columns if isinstance(columns, dict) else {"rank": list(columns)}
    region = {"from_name": "rank", "to_name": "answers", "type": "ranker", "value": {"ranker": value}, "origin": "manual"}
    known = {"id": 1, "was_cancelled": False, "completed_by": 5, "parent_prediction": None}
    return {**known, "result": [region, *more], **fields}


def listed(*annotations: dict[str, Any], texts: Sequence[str] = ("One.", "Two.", "Three."), **fields: Any) -> dict[str, Any]:
    """A task whose answers have the ids a, b, c and so on."""
    data = {"prompt": "Why?", "task": "Order them.", "items": items_of(texts)}
    return {"id": 7, "data": data, "annotations": list(annotations), "predictions": [], **fields}
