"""Label Studio predictions: suggestions for scored answers, empty ones for the control group, and which of them are stored.

A side is lit if the model is sure enough of it. Below that, annotators see the rewards alone, if those are shown at all. Two answers
that are the same are never lit, and have the highest score, so that uncertainty sampling serves them last.
"""

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

from backend.scoring.champion import ServedVersion
from preference.labelling.control_group import is_control, priority
from preference.labelling.label_config import LabelingLayout
from preference.labelling.results import Pairwise
from preference.setting_groups import SuggestingSettings
from preference.studio.project import LabelStudioProject
from preference.studio.task import Task, is_annotated

Prediction = dict[str, Any]
_OBJECT_BYTES, _JSON_COPIES = 450, 6  # measured: 272 a prediction and 406 a region, and five times its JSON while that is made
LEAST_OTHERS = 8  # scores of other tasks, among which a control task gets its place
_LAST = 1.0  # the score of a task that teaches nothing


def predict_tasks(
    tasks: Sequence[Mapping[str, Any]], layout: LabelingLayout, serving: ServedVersion | None, *, suggesting: SuggestingSettings,
    only_known: bool = False, least_others: int = LEAST_OTHERS,
) -> list[Prediction | list[Any]]:  # fmt: skip
    """One entry a task, in order: its prediction, or `[]` if an answer, the model or a number as a reward is missing.

    With `only_known`, a task also gets `[]` if the model would have to compute. Never fewer entries and never `null`: Label
    Studio drops a whole request whose number of results differs from its tasks, and shows its user an error for a `null`.
    `[]` makes it ask again when the task is opened next.

    A control task gets an empty result with a score drawn from those of other tasks, so that it may stand anywhere in the order.
    The others are the tasks of this request; if these are fewer than LEAST_OTHERS, the latest that this process scored. If
    even these are fewer than `least_others`, the control task gets `[]`.
    """
    results: list[Prediction | list[Any]] = [[] for _ in tasks]
    if serving is None:
        return results
    answered, control = [], []
    for i, task in enumerate(tasks):
        prompt, (left, right) = layout.prompt(task["data"]), layout.answers(task["data"])
        if prompt is None or left is None or right is None:
            continue
        if is_control(task.get("id"), suggesting.control_percent):
            control.append(i)
        elif not only_known or (serving.model.knows(prompt, left) and serving.model.knows(prompt, right)):
            answered.append((i, prompt, left, right))
    prompts = [prompt for _, prompt, _, _ in answered for _ in range(2)]
    answers = [answer for _, _, left, right in answered for answer in (left, right)]
    rewards = serving.model.score(prompts, answers).reshape(-1, 2).tolist()  # (num_answered, 2)
    # JSON, and so Label Studio, takes no other number.
    finite = [(*each, both) for each, both in zip(answered, rewards, strict=True) if all(map(math.isfinite, both))]
    are_same = [_are_same(left, right) for _, _, left, right, _ in finite]
    scores = [_LAST if same else serving.model.confidence(*both) for same, (*_, both) in zip(are_same, finite, strict=True)]
    suggest_from = serving.suggest_from if suggesting.suggest_from is None else suggesting.suggest_from
    for (i, _, _, _, both), score, same in zip(finite, scores, are_same, strict=True):
        is_lit = suggest_from is not None and score >= suggest_from and not same
        results[i] = _prediction(_suggestion(layout, both, suggesting, is_lit=is_lit), score, serving)
    serving.scores.extend(scores)
    # Tasks to be scored again are listed by their last scores, a page at a time: the page's own scores keep the control tasks there.
    others = scores if len(scores) >= LEAST_OTHERS else list(serving.scores.copy())  # other threads extend it
    if len(others) >= least_others:
        for i in control:
            left, right = layout.answers(tasks[i]["data"])
            score = _LAST if _are_same(left or "", right or "") else priority(tasks[i]["id"], serving.version, others)
            results[i] = _prediction([], score, serving)
    return results


def prediction_bytes(layout: LabelingLayout, version: str, *, suggesting: SuggestingSettings) -> int:
    """The most memory that the prediction of a task takes in an answer: its objects, and its JSON, which names the config's tags."""
    regions = _suggestion(layout, (-1 / 3, -1 / 3), suggesting, is_lit=True)
    prediction = {"result": regions, "score": 2 / 3, "model_version": version}
    return _OBJECT_BYTES * (1 + len(regions)) + _JSON_COPIES * len(json.dumps(prediction))


def still_wanted(
    tasks: Sequence[Task], results: Sequence[Prediction | list[Any]], project: LabelStudioProject, *, layout: LabelingLayout
) -> list[Prediction]:
    """The predictions to store, as Label Studio imports them. `results`: of predict_tasks, one a task.

    A prediction is dropped if its task was judged, edited or deleted meanwhile, or holds one of the version already. So the
    tasks are read again: scoring takes seconds, and one deleted task makes Label Studio refuse all predictions.
    """
    predictions = {
        task["id"]: (task, prediction) for task, prediction in zip(tasks, results, strict=True) if isinstance(prediction, dict)
    }
    current = project.tasks(list(predictions))
    return [
        {"task": task_id, **prediction}
        for task_id, (task, prediction) in predictions.items()
        if (now := current.get(task_id)) is not None
        and (layout.prompt(now["data"]), layout.answers(now["data"]))
        == (layout.prompt(task["data"]), layout.answers(task["data"]))
        and not is_annotated(now)
        and prediction["model_version"] not in (now.get("predictions_model_versions") or "")
    ]


def _suggestion(
    layout: LabelingLayout, rewards: Sequence[float], suggesting: SuggestingSettings, *, is_lit: bool
) -> list[dict[str, Any]]:
    suggest = "scores" if suggesting.suggest == "choice" and not is_lit else suggesting.suggest
    return Pairwise.suggestion(layout, rewards, suggest=suggest, show_rewards=suggesting.show_rewards)


def _are_same(left: str, right: str) -> bool:
    """Whether a judgement of these two would say nothing, so that training drops it."""
    return left.strip() == right.strip()


def _prediction(result: list[dict[str, Any]], score: float, serving: ServedVersion) -> Prediction:
    return {"result": result, "score": score, "model_version": serving.version}
