import dataclasses
import json
from typing import Any

import pytest

from preference.labelling.pairs import PreferencePair
from preference.report_card.people_figures import People
from preference.tolerant import read_as
from tests.support.judged_pairs import judged
from trainer.people.agreement import people_figures
from trainer.people.judgements import Outcome, judgements_of, left_rate


def figures(*votes: tuple[int, int, Outcome], **fields: Any) -> Any:
    people = people_figures(judgements_of(judged(*votes, **fields)))
    assert read_as(People, json.loads(json.dumps(dataclasses.asdict(people), allow_nan=False))) == people
    return people


def row(people: People, annotator: int) -> Any:
    return next(row for row in people.annotators if row.annotator == annotator)


def test_annotations_are_counted_not_pairs() -> None:
    pairs = judged((1, 7, "left"), (2, 7, "tie"), (3, 7, "right"))
    pairs.append(PreferencePair("prompt 1", "written", "left answer", kind="written", task_id=1, annotation_id=0, annotator_id=7))

    judgements = judgements_of(pairs)

    assert [judgement.outcome for judgement in judgements] == ["left", "tie", "right"]
    seven = row(people_figures(judgements), 7)
    assert (seven.num_judgements, seven.num_ties, seven.left_rate.value) == (3, 1, 0.5)


def test_a_written_answer_alone_is_a_judgement_without_a_side() -> None:
    pairs = [
        PreferencePair("p", "written", other, kind="written", weight=0.5, task_id=1, annotation_id=1, annotator_id=7)
        for other in ("left answer", "right answer")
    ]

    (judgement,) = judgements_of(pairs)

    assert judgement.outcome is None
    assert left_rate([judgement]).value is None


def test_pairs_without_an_annotation_are_judgements_of_their_own() -> None:
    assert len(judgements_of([PreferencePair("p", "a", "b"), PreferencePair("p", "a", "b")])) == 2


def test_agreement_and_alpha_are_as_worked_out_by_hand() -> None:
    """Two annotators, ten tasks, eight alike. Krippendorff: 1 - (n - 1) * Do / De with 12 left and 8 right of 20."""
    both: list[tuple[int, int, Outcome]] = []
    for task in range(10):
        both += [(task, 1, "left" if task < 6 else "right"), (task, 2, "left" if task < 5 or task > 8 else "right")]

    people = figures(*both)

    assert (people.num_annotators, people.num_shared) == (2, 10)
    assert people.agreement.value == 0.8
    observed, expected = 4 / 20, 2 * 12 * 8 / (20 * 19)
    assert people.alpha == pytest.approx(1 - observed / expected, abs=1e-4)


def test_a_tie_agrees_with_a_tie_alone() -> None:
    votes: list[tuple[int, int, Outcome]] = []
    for task in range(6):
        votes += [(task, 1, "tie"), (task, 2, "tie" if task < 3 else "left")]

    assert figures(*votes).agreement.value == 0.5


def test_each_comparison_counts_once_however_many_voted_on_it() -> None:
    votes: list[tuple[int, int, Outcome]] = [(0, annotator, "left" if annotator % 2 else "right") for annotator in range(500)]
    for task in range(1, 10):
        votes += [(task, 1, "left"), (task, 2, "left")]

    people = figures(*votes)

    assert people.agreement.value == pytest.approx((9 + 0.499) / 10, abs=1e-3)
    assert len(people.annotators) == 50, "the list is bounded"
    assert people.num_annotators == 500


def test_one_annotator_agrees_with_nobody() -> None:
    people = figures(*((task, 1, "left" if task % 2 else "right") for task in range(30)))

    assert (people.num_shared, people.alpha, people.agreement.value) == (0, None, None)
    assert row(people, 1).agreement.value is None


def test_a_few_shared_comparisons_are_no_agreement_yet() -> None:
    votes: list[tuple[int, int, Outcome]] = []
    for task in range(4):
        votes += [(task, 1, "left"), (task, 2, "right")]

    people = figures(*votes)

    assert (people.num_shared, people.alpha, people.agreement.value) == (4, None, None)


def test_if_all_agree_alpha_is_not_known_and_agreement_is_full() -> None:
    votes: list[tuple[int, int, Outcome]] = []
    for task in range(8):
        votes += [(task, 1, "left"), (task, 2, "left")]

    people = figures(*votes)

    assert (people.alpha, people.agreement.value) == (None, 1.0)


def test_of_two_judgements_by_one_annotator_on_one_task_the_later_one_agrees() -> None:
    votes: list[tuple[int, int, Outcome]] = []
    for task in range(5):
        votes += [(task, 1, "right"), (task, 2, "left"), (task, 1, "left")]

    people = figures(*votes)

    assert people.agreement.value == 1.0
    assert row(people, 1).num_judgements == 10


def test_an_annotator_who_always_picks_left_is_flagged() -> None:
    people = figures(
        *((task, 1, "left") for task in range(20)), *((task, 2, "left" if task % 2 else "right") for task in range(20))
    )

    assert row(people, 1).flags == ("nearly always picks left",)
    assert row(people, 2).flags == ()
    assert row(people, 1).left_rate.value == 1.0


def test_a_few_lefts_in_a_row_are_no_flag_and_right_is_one_as_well() -> None:
    people = figures(*((task, 1, "left") for task in range(9)), *((task, 2, "right") for task in range(9, 30)))

    assert row(people, 1).flags == ()
    assert row(people, 2).flags == ("nearly always picks right",)


def test_an_annotator_who_disagrees_with_the_others_is_flagged() -> None:
    votes: list[tuple[int, int, Outcome]] = []
    for task in range(20):
        side: Outcome = "left" if task % 2 else "right"
        votes += [(task, 1, side), (task, 2, side), (task, 3, "right" if task % 2 else "left")]

    people = figures(*votes)

    assert row(people, 3).flags == ("disagrees with the others",)
    assert row(people, 1).flags == ()
    assert row(people, 1).agreement.value == 0.5, "with one of the two others"


def test_lead_times_are_a_median_of_those_that_are_known() -> None:
    pairs = [
        pair
        for seconds, vote in zip((1.0, 2.0, 9.0, None, 0.0), range(5), strict=True)
        for pair in judged((vote, 1, "left"), lead_seconds=seconds)
    ]
    for number, pair in enumerate(pairs):
        pairs[number] = PreferencePair(**{**vars(pair), "annotation_id": number})

    assert row(people_figures(judgements_of(pairs)), 1).lead_seconds == 2.0
    assert row(figures((1, 1, "left")), 1).lead_seconds is None


def test_judgements_by_nobody_known_count_and_agree_with_nobody() -> None:
    people = people_figures(
        judgements_of([PreferencePair("p", "a", "b", chosen_side="left", task_id=1, annotation_id=n) for n in (1, 2)])
    )

    assert [(row.annotator, row.num_judgements) for row in people.annotators] == [(None, 2)]
    assert people.num_shared == 0


def test_no_judgement_at_all_has_no_figures() -> None:
    people = figures()

    assert (people.num_annotators, people.annotators, people.alpha, people.agreement.value) == (0, (), None, None)


# With oneself, with the ground truth, and in time


def test_the_same_comparison_judged_again_tells_how_far_somebody_agrees_with_himself() -> None:
    votes = judged(*((task, 7, "left") for task in range(6)))
    again = judged(*((task, 7, "left" if task < 4 else "right") for task in range(6)))
    turned = [
        dataclasses.replace(pair, task_id=100 + (pair.task_id or 0), annotation_id=100 + n, judged_at=f"2026-02-01T10:00:0{n}Z")
        for n, pair in enumerate(again)
    ]

    seven = row(people_figures(judgements_of([*votes, *turned])), 7)

    assert (seven.with_self.value, seven.with_self.count) == (pytest.approx(4 / 6, abs=1e-4), 6)
    assert row(figures((1, 7, "left")), 7).with_self.value is None


def test_ground_truth_is_what_others_are_measured_by() -> None:
    true = [dataclasses.replace(pair, is_ground_truth=True) for pair in judged(*((task, 1, "left") for task in range(6)))]
    votes: list[tuple[int, int, Outcome]] = [(task, 7, "left" if task < 5 else "tie") for task in range(6)]
    others = [dataclasses.replace(pair, annotation_id=50 + (pair.annotation_id or 0)) for pair in judged(*votes)]

    people = people_figures(judgements_of([*true, *others]))

    assert (row(people, 7).gold.value, row(people, 7).gold.count) == (pytest.approx(5 / 6, abs=1e-4), 6)
    assert row(people, 1).gold.count == 0, "nobody is measured by himself"


@pytest.mark.parametrize(("seconds", "num_fast"), [(0.2, 12), (0.3, 0), (None, None)])
def test_who_judges_faster_than_anybody_reads_is_flagged_and_counted(seconds: float | None, num_fast: int | None) -> None:
    """The two answers have 23 letters, which nobody reads in less than .23 seconds."""
    people = figures(*((task, 7, "left" if task % 2 else "right") for task in range(12)), lead_seconds=seconds)

    seven = row(people, 7)
    assert (seven.num_judgements, seven.num_too_fast) == (12, num_fast)
    assert seven.flags == (("judged 12 of 12 faster than anybody reads",) if num_fast else ())


def test_who_agrees_less_than_in_earlier_weeks_is_flagged() -> None:
    votes: list[tuple[int, int, Outcome]] = []
    for task in range(60):
        votes += [(task, 1, "left"), (task, 7, "left" if task < 40 else "right")]
    pairs = [
        dataclasses.replace(pair, judged_at=f"2026-11-{'02' if (pair.task_id or 0) < 40 else '10'}T10:00:00Z")
        for pair in judged(*votes)
    ]

    seven = row(people_figures(judgements_of(pairs)), 7)

    assert "agrees with the others less than in earlier weeks" in seven.flags
    assert [(week.week, week.num_judgements, week.agreement.value) for week in seven.weeks] == [
        ("2026-W45", 40, 1.0), ("2026-W46", 20, 0.0),
    ]  # fmt: skip
