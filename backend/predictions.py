"""Scored answers as Label Studio predictions."""

from collections.abc import Sequence
from typing import Any

from backend.champion import Serving
from preference.controls import Pairwise
from preference.layout import LabelingLayout

Prediction = dict[str, Any]


def predict_tasks(
    tasks: Sequence[dict[str, Any]], layout: LabelingLayout, serving: Serving | None, *, only_known: bool = False
) -> list[Prediction | list[Any]]:
    """One entry a task, in order: its prediction, or `[]` where an answer or the model is missing.

    With `only_known`, `[]` also where the model would have to compute.

    Label Studio drops a whole request whose number of results differs from its tasks, and shows its user an error for
    `null` anywhere; `[]` makes it ask again at the next open.
    """
    results: list[Prediction | list[Any]] = [[] for _ in tasks]
    if serving is None:
        return results
    answered = []
    for i, task in enumerate(tasks):
        prompt, (left, right) = layout.prompt(task["data"]), layout.answers(task["data"])
        if prompt is None or left is None or right is None:
            continue
        if not only_known or (serving.model.knows(prompt, left) and serving.model.knows(prompt, right)):
            answered.append((i, prompt, left, right))
    prompts = [prompt for _, prompt, _, _ in answered for _ in range(2)]
    answers = [answer for _, _, left, right in answered for answer in (left, right)]
    rewards = serving.model.score(prompts, answers).reshape(-1, 2).tolist()  # (num_answered, 2)
    for (i, _, _, _), (reward1, reward2) in zip(answered, rewards, strict=True):
        results[i] = {
            "result": Pairwise.suggestion(layout, (reward1, reward2)),
            "score": serving.model.confidence(reward1, reward2),
            "model_version": serving.version,
        }
    return results
