"""A round over a project whose annotators order lists."""

from typing import Any

from preference.labelling.controls.ranker import items_of
from preference.labelling.holdout import Holdout
from tests.support.lab import HOLDOUT, Lab
from tests.support.ranked_lists import ORDER, ranking
from tests.support.separable_pairs import separable_pairs


def ranked_tasks(num_tasks: int) -> list[dict[str, Any]]:
    """Tasks with four answers each, of which two are kind and two are noise; each was ranked once."""
    tasks = []
    for number, (pair, other) in enumerate(zip(separable_pairs(num_tasks), separable_pairs(num_tasks, start=7), strict=True), 1):
        kind, noise = [pair.chosen, f"{other.chosen} Yes."], [pair.rejected, f"{other.rejected} zzx"]
        data = {"prompt": pair.prompt, "items": items_of([noise[0], kind[0], kind[1], noise[1]])}
        tasks.append({"id": number, "data": data, "annotations": [ranking("bcda", id=number)], "predictions": []})
    return tasks


def test_rankings_are_trained_on_judged_by_and_counted_once_each(lab: Lab) -> None:
    tasks = ranked_tasks(60)
    num_held_out = sum(Holdout(HOLDOUT).has(task["data"]["prompt"]) for task in tasks)

    ended = lab.round(tasks, label_config=ORDER)

    card = lab.card(ended)
    assert ended.outcome == "promoted", ended.reason
    assert (card.num_train_pairs, card.num_holdout_pairs) == (60 - num_held_out, num_held_out)
    assert card.metrics.num_pairs == num_held_out and (card.metrics.accuracy or 0) > 0.8
    assert card.fields == {"prompt": "prompt", "items": "items"}
    assert card.report.num_rankings == 60 and card.report.people is not None
    assert [row.num_judgements for row in card.report.people.annotators] == [60]
    assert card.report.reliability is None or sum(each.count or 0 for each in card.report.reliability.bins) == num_held_out


def test_too_few_rankings_are_skipped_with_their_number(lab: Lab) -> None:
    ended = lab.round(ranked_tasks(19), label_config=ORDER)

    assert (ended.outcome, ended.reason) == ("skipped", "19 of 20 pairs (MIN_PAIRS); excluded: nothing")


def test_a_project_that_voted_before_it_ranked_goes_on(lab_with_champion: Lab) -> None:
    ended = lab_with_champion.round(ranked_tasks(60), label_config=ORDER)

    assert ended.version is not None, ended.reason
