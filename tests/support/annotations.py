"""Annotations as Label Studio lists them, and the layouts that read them."""

import json
from dataclasses import replace
from typing import Any

from preference.labelling.controls.named import Strength
from preference.labelling.controls.verdict import VerdictControl
from preference.labelling.label_config import LabelingLayout
from preference.labelling.pairs import PreferencePair
from tests.conftest import REPOSITORY

# Seven tasks, judged by clicks in the browser on label_config.xml, as `GET /api/tasks?fields=all` listed them; of each task's
# fields, those that are read were kept.
JUDGED = json.loads((REPOSITORY / "tests/data/label_studio_1.23.2_judgements.json").read_text(encoding="utf-8"))
PLAIN = LabelingLayout("comparison", ("answer1", "answer2"), ("answer1", "answer2"), "prompt", (None, None))
FULL = replace(
    PLAIN,
    verdict=VerdictControl("verdict"),
    strength=Strength("strength", 4),
    better_answer="better_answer",
    control_names=frozenset({"comparison", "verdict", "strength", "better_answer"}),
)


def tag_result(name: str, kind: str, value: object) -> dict[str, Any]:
    return {"from_name": name, "to_name": "prompt", "type": kind, "value": value, "origin": "manual"}


TIE, BOTH_BAD = (tag_result("verdict", "choices", {"choices": [word]}) for word in ("Tie", "Both bad"))
THREE_STARS = tag_result("strength", "rating", {"rating": 3})
WRITTEN = tag_result("better_answer", "textarea", {"text": ["Better."]})
DATA = {"prompt": "Why?", "answer1": "Left.", "answer2": "Right."}
PROMPTS = [f"Question number {n}: why {n}?" for n in range(2000)]


def vote(side: str | None, **changes: Any) -> dict[str, Any]:
    """An annotation as label-studio 1.23.2 lists it."""
    value = {"from_name": "comparison", "to_name": "comparison", "type": "pairwise", "value": {"selected": side}}
    result = [] if side is None else [{**value, "origin": "manual"}]
    return {"id": 1, "result": result, "was_cancelled": False, "completed_by": 5, "parent_prediction": None, **changes}


def vote_with(*regions: dict[str, Any], side: str | None = None, **changes: Any) -> dict[str, Any]:
    """An annotation with more than a side."""
    return vote(side, result=[*vote(side)["result"], *regions], **changes)


def task(*votes: dict[str, Any], data: dict[str, Any] | None = None, **changes: Any) -> dict[str, Any]:
    return {"id": 7, "data": DATA if data is None else data, "annotations": list(votes), "predictions": [], **changes}


LAYOUT = LabelingLayout("comparison", ("answer1", "answer2"), ("answer1", "answer2"), "prompt", (None, None))


def pair(prompt: str) -> PreferencePair:
    return PreferencePair(prompt, "good", "bad")
