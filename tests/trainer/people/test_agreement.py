"""Repeats: who judged a comparison again agrees with themselves or not, and nothing else of that counts."""

import dataclasses

from preference.labelling.pairs import PreferencePair
from preference.report_card.people_figures import People
from tests.support.judged_pairs import judged
from trainer.people.agreement import people_figures
from trainer.people.judgements import Outcome, judgements_of

LEFT: list[tuple[int, int, Outcome]] = [(task, 7, "left") for task in range(10)]


def again(*votes: tuple[int, int, Outcome]) -> list[PreferencePair]:
    """What was said of repeats, as pairs_of_repeat has it."""
    pairs = judged(*votes, judged_at="2026-02-01T10:00:00Z")
    return [dataclasses.replace(pair, annotation_id=100 + (pair.annotation_id or 0)) for pair in pairs]


def figures(votes: list[tuple[int, int, Outcome]], repeats: list[tuple[int, int, Outcome]]) -> People:
    return people_figures(judgements_of(judged(*votes)), again=judgements_of(again(*repeats)))


def test_who_judged_the_same_again_agrees_with_themselves_so_often() -> None:
    without = figures(LEFT, [])
    people = figures(LEFT, [(0, 7, "left"), (1, 7, "left"), (2, 7, "left"), (3, 7, "tie"), (4, 7, "right")])

    (seven,), (before,) = people.annotators, without.annotators
    assert seven.with_self is not None
    assert (seven.with_self.value, seven.with_self.count) == (0.6, 5)
    assert seven.with_self.interval is not None and seven.with_self.interval[0] < 0.6 < seven.with_self.interval[1]
    assert dataclasses.replace(seven, with_self=before.with_self) == before, "nothing else of it counts"
    assert dataclasses.replace(people, annotators=()) == dataclasses.replace(without, annotators=())


def test_who_judges_what_another_judged_agrees_with_that_one_or_not() -> None:
    both = [*LEFT, *((task, 8, "left") for task in range(20, 23))]
    people = figures(both, [(task, 8, "left" if task < 4 else "right") for task in range(5)])

    rows = {row.annotator: row for row in people.annotators}
    assert people.num_shared == 5 and people.agreement is not None and people.agreement.value == 0.8
    for row in rows.values():
        assert row.agreement is not None and (row.agreement.value, row.agreement.count) == (0.8, 5)
        assert row.with_self is not None and row.with_self.count == 0
    assert rows[8].num_judgements == 3, "what they said of repeats is none of their judgements"


def test_somebody_who_only_judged_repeats_has_no_row() -> None:
    people = figures(LEFT, [(0, 9, "left")])
    assert [row.annotator for row in people.annotators] == [7]
    assert people.num_shared == 1


def test_a_repeat_of_a_task_that_compares_other_answers_now_is_no_judgement_of_it() -> None:
    both: list[tuple[int, int, Outcome]] = [*LEFT, *((task, 8, "left") for task in range(10))]
    moved = [
        dataclasses.replace(pair, prompt=f"another {pair.task_id}") for pair in again(*((task, 9, "right") for task in range(10)))
    ]

    people = people_figures(judgements_of(judged(*both)), again=judgements_of(moved))

    assert people == people_figures(judgements_of(judged(*both)))


def test_annotators_who_were_deleted_may_be_several_and_are_not_compared_with_themselves() -> None:
    votes, second = ([dataclasses.replace(pair, annotator_id=None) for pair in pairs] for pairs in (judged(*LEFT), again(*LEFT)))
    (row,) = people_figures(judgements_of(votes), again=judgements_of(second)).annotators
    assert row.annotator is None and row.with_self is not None and row.with_self.count == 0
