"""In figures of people a ranking counts once: one pair, the same for all who order the same answers, stands for it."""

from collections import Counter
from typing import Any

from preference.labelling.label_config import LabelingLayout
from preference.labelling.pairs import PreferencePair
from preference.labelling.results import Ranking
from preference.labelling.task_pairs import pairs_of_task
from tests.support.ranked_lists import ORDERED, SORTED, listed, ranking
from trainer.people.agreement import people_figures
from trainer.people.judgements import judgements_of, left_rate
from trainer.reporting.figures import suggestions


def pairs_of(*tasks: dict[str, Any], layout: LabelingLayout = ORDERED) -> list[PreferencePair]:
    return [pair for task in tasks for pair in pairs_of_task(task, layout, dropped=Counter())]


def asked(number: int, *annotations: dict[str, Any], **fields: Any) -> dict[str, Any]:
    task = listed(*annotations, id=number, **fields)
    return {**task, "data": {**task["data"], "prompt": f"Question {number}?"}}


def test_a_ranking_is_one_judgement_with_the_outcome_of_one_of_its_pairs() -> None:
    pairs = pairs_of(*(asked(number, ranking("abc", id=number)) for number in range(1, 31)))

    judgements = judgements_of(pairs)

    assert (len(pairs), len(judgements)) == (90, 30)
    assert all(made.is_ranking and made.outcome == "left" and made.answers is not None for made in judgements)
    assert len({made.answers for made in judgements}) == 3, "not always the same pair"
    assert left_rate(judgements).value == 1.0, "people who move nothing are seen"


def test_two_who_order_alike_agree_and_two_who_do_the_reverse_never_do() -> None:
    def agreement(second: str) -> Any:
        rankings = [
            (ranking("abc", id=2 * n, completed_by=1), ranking(second, id=2 * n + 1, completed_by=2)) for n in range(1, 7)
        ]
        return people_figures(judgements_of(pairs_of(*(asked(n, *both) for n, both in enumerate(rankings, 1))))).agreement

    assert (agreement("abc").value, agreement("cba").value, agreement("abc").count) == (1.0, 0.0, 6)


def test_who_sorted_other_answers_into_buckets_compared_something_else() -> None:
    one = ranking({"_": [], "relevant_results": ["a"], "biased_results": ["b"]}, id=1, completed_by=1)
    other = ranking({"_": [], "relevant_results": ["b"], "biased_results": ["c"]}, id=2, completed_by=2)

    assert people_figures(judgements_of(pairs_of(asked(1, one, other), layout=SORTED))).num_shared == 0


def test_how_often_people_follow_an_order_is_counted_by_rankings() -> None:
    tasks = []
    for number in range(1, 11):
        suggestion = {
            "id": 3,
            "result": Ranking.suggestion(ORDERED, listed()["data"], [3, 2, 1]),
            "score": 0.8,
            "model_version": "v1",
        }
        order = "abc" if number > 4 else "cba"
        tasks.append(asked(number, ranking(order, id=number, parent_prediction=3), predictions=[suggestion]))

    followed = suggestions(judgements_of(pairs_of(*tasks)))

    assert followed is not None and (followed.value, followed.count) == (0.6, 10)
