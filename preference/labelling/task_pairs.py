"""The pairs of a task: every vote is a pair, and what becomes no pair is counted by reason."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from functools import partial
from hashlib import sha256
from itertools import combinations
from typing import Any, Literal

from preference.labelling.controls.criteria import Condition, criteria_of
from preference.labelling.controls.repeats import repeat_of
from preference.labelling.controls.verdict import Side
from preference.labelling.label_config import LabelingLayout
from preference.labelling.pairs import PreferencePair
from preference.labelling.prompts import Prompt, normalised
from preference.labelling.results import Pairwise, ParsedResult, Ranking, kept_confidence, version_behind

Ties = Literal["half", "drop"]
Fields = Mapping[str, Any]  # of a task, an annotation or a prediction, as Label Studio lists them


def pairs_of_task(
    task: Fields, layout: LabelingLayout, *, dropped: Counter[str], ties: Ties = "half", prefer_ground_truth: bool = False,
    where: Sequence[Condition] = (),
) -> list[PreferencePair]:  # fmt: skip
    """The pairs of a task as Label Studio lists it with `fields=all`, oldest annotation first.

    A vote is one pair; contradicting votes of several annotators stay apart, which is the maximum-likelihood form of a soft
    label (Bradley-Terry). A tie, or both bad, is half a vote each way, or dropped with `ties="drop"`. A written answer beats
    the chosen one, or each of the two with half a vote if none was chosen. Every annotation that stands counts, also a second
    one by the same annotator: Label Studio has Update and Delete for a change of mind, and gives all that is imported to the
    importer.

    A ranking is all the pairs of answers that it orders, which together weigh one vote. Answers in one bucket give none; a ranking
    that orders no two counts as `tie`, and so does a tie of a whole list. A written answer beats the best one.

    `where`: only judgements whose criteria are so.

    A repeat gives none: what people say twice counts once. `pairs_of_repeat` has what they said.

    `dropped` counts by reason what gives no pair: `judged again` (of a repeat), `not ground truth`, `skipped`, `judged by another control` (the label config
    changed), `filtered out` (by `where`), `verdict not understood`, `unsure`, `new answers wanted`, `empty`, `missing prompt`, `missing answer`, `identical answers`,
    `tie`, `both bad`, `written answer same as shown`. An annotation of one of the last four may still give a written pair.
    """
    if repeat_of(task) is not None:
        if again := len(task.get("annotations") or []):
            dropped["judged again"] += again
        return []
    prompt, texts = layout.prompt(task["data"]), layout.comparable_answers(task["data"])
    pairs: list[PreferencePair] = []
    for annotation, judgement in _standing(task, layout, dropped, prefer_ground_truth=prefer_ground_truth, where=where):
        if prompt is None:
            dropped["missing prompt"] += 1
            continue
        compared = "" if prompt else _digest(texts)
        known = _provenance(task, annotation, layout)
        make = partial(PreferencePair, prompt, compared=compared, criteria=judgement.criteria, **known)
        if not texts:
            dropped["missing answer"] += 1
        elif layout.ranker is not None:
            items = dict(zip(layout.ranker.texts(task["data"]), texts, strict=True))
            places = Ranking.suggested(layout, _suggestion_of(task, annotation).get("result"))
            pairs += _ordered(make, judgement, items, places, dropped=dropped)
            best = [items[key] for grade in judgement.grades for key in grade if key in items][:1]
            pairs += _written(make, judgement, best or texts, texts, dropped=dropped)
        else:
            left, right = texts
            pairs += _votes(make, judgement, left, right, ties=ties, dropped=dropped)
            chosen = {"left": [left], "right": [right]}.get(judgement.outcome or "", texts)
            pairs += _written(make, judgement, chosen, texts, dropped=dropped)
    return pairs


def pairs_of_repeat(
    task: Fields, layout: LabelingLayout, *, ties: Ties = "half", where: Sequence[Condition] = ()
) -> list[PreferencePair]:
    """What people said of a repeat, as pairs of the task that it repeats, on whose sides they stand; none of any other task.

    `ties`, `where`: as for the pairs of that task, beside which they are set.
    """
    repeat = repeat_of(task)
    if repeat is None:
        return []
    pairs = pairs_of_task({**task, "meta": None}, layout, dropped=Counter(), ties=ties, where=where)
    sides: dict[Side | None, Side | None] = {"left": "right", "right": "left"}
    return [replace(pair, task_id=repeat.of_task, chosen_side=sides.get(pair.chosen_side)) for pair in pairs]


def question_of(prompt: Prompt, texts: Sequence[str]) -> Prompt:
    """`PreferencePair.question` of a task with this prompt and these answers."""
    return prompt or _digest(texts)


def annotator_of(annotation: Fields) -> int | None:
    """The annotator's id, which some of Label Studio's answers wrap in the whole user."""
    who = annotation.get("completed_by")
    number = who.get("id") if isinstance(who, dict) else who
    return number if isinstance(number, int) else None


def _digest(answers: Sequence[str]) -> str:
    """The same for answers and their twins, in whichever order they stand."""
    return sha256("\0".join(sorted(map(normalised, answers))).encode()).hexdigest()


def _standing(
    task: Fields, layout: LabelingLayout, dropped: Counter[str], *, prefer_ground_truth: bool, where: Sequence[Condition]
) -> list[tuple[Fields, ParsedResult]]:
    """The annotations that count, oldest first, each with what it says."""
    annotations = sorted(task.get("annotations") or [], key=lambda annotation: annotation.get("id") or 0)
    true = [annotation for annotation in annotations if annotation.get("ground_truth") and not annotation.get("was_cancelled")]
    if prefer_ground_truth and true and len(true) < len(annotations):
        dropped["not ground truth"] += len(annotations) - len(true)
        annotations = true
    standing = []
    for annotation in annotations:
        judgement = Pairwise.judgement(layout, annotation.get("result"))
        if annotation.get("was_cancelled"):
            dropped["skipped"] += 1
        elif judgement.outcome is None and not judgement.grades and judgement.written is None:
            dropped[_reason(judgement)] += 1
        elif not all(condition.holds(criteria_of(judgement.criteria)) for condition in where):
            dropped["filtered out"] += 1
        else:
            if judgement.is_not_understood:  # beside a written answer
                dropped[_reason(judgement)] += 1
            standing.append((annotation, judgement))
    return standing


def _reason(judgement: ParsedResult) -> str:
    """Why a judgement that says nothing of the two answers does not."""
    if judgement.wants_new_answers:
        return "new answers wanted"
    if judgement.is_unsure:
        return "unsure"
    if judgement.is_not_understood:
        return "verdict not understood"
    return "judged by another control" if judgement.is_of_another_config else "empty"


def _suggestion_of(task: Fields, annotation: Fields) -> Fields:
    """The prediction that the annotator saw; empty if there was none."""
    parent = annotation.get("parent_prediction")
    return next((p for p in task.get("predictions") or [] if parent is not None and p.get("id") == parent), {})


def _provenance(task: Fields, annotation: Fields, layout: LabelingLayout) -> dict[str, Any]:
    suggestion = _suggestion_of(task, annotation)
    side, score = Pairwise.suggested(layout, suggestion.get("result")), suggestion.get("score")
    kept = kept_confidence(suggestion.get("result"))
    is_ordered = bool(Ranking.suggested(layout, suggestion.get("result")))
    is_lit = is_ordered or Pairwise.choice(layout, suggestion.get("result")) is not None
    is_seen = side is not None or is_ordered
    confidence = score if kept is None else kept
    lead, made = annotation.get("lead_time"), annotation.get("created_at")
    return {
        "task_id": task.get("id"),
        "annotation_id": annotation.get("id"),
        "annotator_id": annotator_of(annotation),
        "suggested_version": version_behind(suggestion.get("model_version")),
        "suggested_side": side,
        "is_lit": is_lit,
        "suggested_confidence": float(confidence) if is_seen and isinstance(confidence, int | float) else None,
        "is_by_confidence": is_seen and kept is None,
        # Two generators wrote the answers of a duel, so it is no fair sample of the tasks that have suggestions.
        "is_blind": suggestion.get("result") == [] and not task.get("duel"),
        "is_ground_truth": bool(annotation.get("ground_truth")),
        "lead_seconds": float(lead) if isinstance(lead, int | float) else None,
        "judged_at": made.isoformat() if isinstance(made, datetime) else made,
    }


def _votes(
    make: partial[PreferencePair], judgement: ParsedResult, left: str, right: str, *, ties: Ties, dropped: Counter[str]
) -> list[PreferencePair]:
    outcome = judgement.outcome
    if outcome is None:
        return []
    if left.strip() == right.strip():
        dropped["identical answers"] += 1
        return []
    to_left = partial(make, left, right, chosen_side="left")
    to_right = partial(make, right, left, chosen_side="right")
    if outcome == "left" or outcome == "right":
        return [(to_left if outcome == "left" else to_right)(margin=judgement.strength or 0.0)]
    if ties == "drop":
        dropped["tie" if outcome == "tie" else "both bad"] += 1
        return []
    return [to_left(kind=outcome, weight=0.5), to_right(kind=outcome, weight=0.5)]


def _ordered(
    make: partial[PreferencePair], judgement: ParsedResult, items: Mapping[str, str], suggested: Mapping[str, int], *,
    dropped: Counter[str],
) -> list[PreferencePair]:  # fmt: skip
    """The pairs of a ranking. `items`: the answers by id, as they stand in the task; `suggested`: the places that were suggested."""
    if judgement.outcome is not None:
        dropped["tie" if judgement.outcome == "tie" else "both bad"] += 1
        return []
    named = [key for grade in judgement.grades for key in grade]
    place = {key: i for i, grade in enumerate(judgement.grades) for key in grade if key in items}
    compared = [pair for pair in combinations(items, 2) if place.keys() >= set(pair) and place[pair[0]] != place[pair[1]]]
    different = [pair for pair in compared if items[pair[0]].strip() != items[pair[1]].strip()]
    if named and not different:
        is_gone = len(place) < min(len(named), 2)
        dropped["identical answers" if compared else "missing answer" if is_gone else "tie" if len(place) > 1 else "empty"] += 1
    pairs = []
    for left, right in different:
        is_left = place[left] < place[right]
        chosen, rejected = (left, right) if is_left else (right, left)
        is_known = suggested.keys() >= {left, right}
        pairs.append(
            make(
                items[chosen], items[rejected], kind="ranking", weight=1 / len(different),
                chosen_side=_side(is_left),
                suggested_side=_side(suggested[left] < suggested[right]) if is_known else None,
            )
        )  # fmt: skip
    return pairs


def _side(is_left: bool) -> Side:
    return "left" if is_left else "right"


def _written(
    make: partial[PreferencePair], judgement: ParsedResult, beaten: Sequence[str], shown: Sequence[str], *, dropped: Counter[str]
) -> list[PreferencePair]:
    """The pairs of a written answer, which together weigh one vote. `beaten`: the answers that it is better than, of all `shown`."""
    written = judgement.written
    if written is None:
        return []
    if written.strip() in {answer.strip() for answer in shown}:
        dropped["written answer same as shown"] += 1
        return []
    different = list({answer.strip(): answer for answer in beaten}.values())
    return [make(written, answer, kind="written", weight=1 / len(different)) for answer in different]
