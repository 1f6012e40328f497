"""Label Studio predictions: suggestions for scored answers, empty ones for the control group, and which of them are stored.

The score is the confidence, and so the place in the order in which Label Studio serves tasks. Control tasks, duels and held-out tasks
get their place by lot instead. The regions of a held-out task's suggestion keep the confidence.

A side is lit, or a list is put into order, if the model is sure enough of it. Below that, annotators see the rewards alone, if those are
shown at all. Answers that are all the same are never lit, and have the highest score, so that uncertainty sampling serves them last.
"""

import json
import math
from collections.abc import Mapping, Sequence
from itertools import combinations
from statistics import fmean
from typing import Any

from backend.scoring.champion import ServedVersion
from preference.duels.duel import KEY
from preference.labelling.control_group import ControlGroup, priority
from preference.labelling.controls.repeats import repeat_of
from preference.labelling.label_config import LabelingLayout
from preference.labelling.layouts import Layout
from preference.labelling.prompts import Prompt
from preference.labelling.results import Pairwise, suggestion, with_confidence
from preference.labelling.task_pairs import question_of
from preference.setting_groups import SuggestingSettings
from preference.studio.project import LabelStudioProject
from preference.studio.task import META_KEY, Task, entry_of, is_annotated

Prediction = dict[str, Any]
_OBJECT_BYTES, _JSON_COPIES = 450, 6  # measured: 272 a prediction and 406 a region, and five times its JSON while that is made
LEAST_OTHERS = 8  # scores of other tasks, among which one gets its place by lot
_FIRST = 0.5  # the score of a repeat: who made the first judgement is at work now
_LAST = 1.0  # the score of a task that teaches nothing


def predict_tasks(
    tasks: Sequence[Mapping[str, Any]], layout: LabelingLayout, serving: ServedVersion | None, *, suggesting: SuggestingSettings,
    only_known: bool = False, least_others: int = LEAST_OTHERS,
) -> list[Prediction | list[Any]]:  # fmt: skip
    """One entry a task, in order: its prediction, or `[]` if an answer, the model or a number as a reward is missing.

    The score is how sure the model is of which of the two answers is better; of a list, the mean of that over all its pairs.

    With `only_known`, a task also gets `[]` if the model would have to compute. Never fewer entries and never `null`: Label
    Studio drops a whole request whose number of results differs from its tasks, and shows its user an error for a `null`.
    `[]` makes it ask again when the task is opened next.

    A task that somebody judged or skipped gets `[]`: whoever judges it next sees what the first person saw, as long as the project shows
    that version, and then nothing. The suggestion of a newer version would make a difference of versions look like one of people.

    A control task, a duel and a held-out task get a score drawn from those of other tasks, so that they may stand anywhere in the order;
    the first two get an empty result. The others are the latest that this process scored; for the first two the tasks of this request, if
    these are LEAST_OTHERS. If there are fewer than `least_others`, the first two get `[]`; a held-out task need not wait.

    A repeat shows what was shown of the same answers before, whatever the model thinks now, and comes first.
    """
    results: list[Prediction | list[Any]] = [[] for _ in tasks]
    if serving is None:
        return results
    group = ControlGroup(suggesting.control_percent, None if suggesting.suggest_held_out else serving.holdout)
    answered, control, drawn = [], [], []
    for i, task in enumerate(tasks):
        prompt, texts = layout.prompt(task["data"]), layout.comparable_answers(task["data"])
        if prompt is None or not texts or is_annotated(task):
            continue
        if (repeat := repeat_of(task)) is not None and layout.ranker is None:
            results[i] = _prediction(Pairwise.showing(layout, repeat.shown), _FIRST, serving)
        elif group.has(task.get("id"), question_of(prompt, texts)) or entry_of(task, META_KEY).get(KEY):
            control.append(i)
        elif not only_known or all(serving.model.knows(prompt, text) for text in texts):
            answered.append((i, prompt, texts))
    rewards = iter(serving.model.score(*_rows(answered)).tolist())
    scores = []
    suggest_from = serving.suggest_from if suggesting.suggest_from is None else suggesting.suggest_from
    for i, prompt, texts in answered:
        own = [next(rewards) for _ in texts]
        if not all(map(math.isfinite, own)):  # JSON, and so Label Studio, takes no other number
            continue
        sure = fmean(serving.model.confidence(first, second) for first, second in combinations(own, 2))
        score = _LAST if _are_same(texts) else sure
        is_lit = suggest_from is not None and score >= suggest_from and not _are_same(texts)
        regions = _suggestion(layout, tasks[i]["data"], own, suggesting, is_lit=is_lit)
        if serving.holdout is not None and serving.holdout.judges_by(question_of(prompt, texts)) and not _are_same(texts):
            drawn.append((i, with_confidence(regions, score)))
        else:
            scores.append(score)
            results[i] = _prediction(regions, score, serving)
    serving.scores.extend(scores)
    # Tasks to be scored again are listed by their last scores, a page at a time: the page's own scores keep control tasks there.
    latest = list(serving.scores.copy())  # other threads extend it
    others = scores if len(scores) >= LEAST_OTHERS else latest
    for i, regions in drawn:  # among all, and not on its page: an earlier build put it there because of its confidence
        results[i] = _prediction(regions, priority(tasks[i].get("id"), serving.version, latest), serving)
    if len(others) >= least_others:
        for i in control:
            texts = layout.comparable_answers(tasks[i]["data"])
            score = _LAST if _are_same(texts) else priority(tasks[i]["id"], serving.version, others)
            results[i] = _prediction([], score, serving)
    return results


def prediction_bytes(
    layout: LabelingLayout, version: str, *, suggesting: SuggestingSettings, task_data: Mapping[str, Any] | None = None
) -> int:
    """The most memory that the prediction of a task takes in an answer: its objects, and its JSON, which names the config's tags.

    That of a list names the ids of its items, too, which `task_data` has.
    """
    held = task_data or {}
    rewards = (-1 / 3, -1 / 3) if layout.ranker is None else [-1 / 3] * len(layout.ranker.texts(held))
    regions = with_confidence(_suggestion(layout, held, rewards, suggesting, is_lit=True), 2 / 3)
    prediction = {"result": regions, "score": 2 / 3, "model_version": version}
    return _OBJECT_BYTES * (1 + len(regions)) + _JSON_COPIES * len(json.dumps(prediction))


def still_wanted(
    tasks: Sequence[Task], results: Sequence[Prediction | list[Any]], project: LabelStudioProject, *, layout: Layout
) -> list[Prediction]:
    """The predictions to store, as Label Studio imports them. `results`: one a task, as predict_tasks has them.

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
    layout: LabelingLayout,
    task_data: Mapping[str, Any],
    rewards: Sequence[float],
    suggesting: SuggestingSettings,
    *,
    is_lit: bool,
) -> list[dict[str, Any]]:
    suggest = "scores" if suggesting.suggest == "choice" and not is_lit else suggesting.suggest
    return suggestion(layout, task_data, rewards, suggest=suggest, show_rewards=suggesting.show_rewards)


def _rows(answered: Sequence[tuple[int, Prompt, Sequence[str]]]) -> tuple[list[Prompt], list[str]]:
    """Each answer with its prompt."""
    return [prompt for _, prompt, texts in answered for _ in texts], [text for _, _, texts in answered for text in texts]


def _are_same(texts: Sequence[str]) -> bool:
    """Whether a judgement of these would say nothing, so that training drops it."""
    return len({text.strip() for text in texts}) == 1


def _prediction(result: list[dict[str, Any]], score: float, serving: ServedVersion) -> Prediction:
    return {"result": result, "score": score, "model_version": serving.version}
