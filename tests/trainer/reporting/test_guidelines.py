"""Agreement by version of the guidelines."""

import dataclasses
import json

import numpy as np

from preference.labelling.pairs import PreferencePair, majority
from preference.report_card.figures import ReportFigures
from preference.report_card.people_figures import GuidelinesFigures
from preference.report_card.shares import Share
from preference.tolerant import read_as
from tests.support.cards import CARD
from tests.support.judged_pairs import judged
from trainer.evaluation.intervals import share
from trainer.evaluation.pair_rewards import Rewards
from trainer.people.judgements import Outcome, judgements_of
from trainer.reporting.guidelines import by_guidelines
from trainer.reporting.tables import sections

BEFORE, FIRST, SECOND = "2026-11-01T00:00:00Z", "2026-11-02T00:00:00Z", "2026-11-03T00:00:00Z"


def by_two(first_task: int, *, num_alike: int, num_other: int, guidelines: str | None, judged_at: str) -> list[PreferencePair]:
    """Tasks that two annotators judged under one version, some alike."""
    votes: list[tuple[int, int, Outcome]] = []
    for number in range(num_alike + num_other):
        votes += [(first_task + number, 1, "left"), (first_task + number, 2, "left" if number < num_alike else "right")]
    pairs = judged(*votes, guidelines=guidelines, judged_at=judged_at)
    return [dataclasses.replace(pair, annotation_id=100 * first_task + number) for number, pair in enumerate(pairs)]


def rewards(gaps: list[float]) -> Rewards:
    return Rewards(np.array(gaps), np.zeros(len(gaps)))


def figures(
    pairs: list[PreferencePair], votes: list[PreferencePair] | None = None, gaps: list[float] | None = None
) -> tuple[GuidelinesFigures, ...]:
    held = votes or []
    known = rewards(gaps) if gaps is not None else None
    made = by_guidelines(judgements_of(pairs), votes=held, holdout=majority(held), rewards=known)
    kept = read_as(ReportFigures, json.loads(json.dumps(dataclasses.asdict(ReportFigures(guidelines=made)), allow_nan=False)))
    assert kept.guidelines == made, "the card holds the same figures"
    return made


def test_people_are_compared_under_each_version_apart() -> None:
    pairs = [
        *by_two(50, num_alike=9, num_other=1, guidelines="22222222", judged_at=SECOND),
        *by_two(1, num_alike=5, num_other=5, guidelines=None, judged_at=BEFORE),
        *by_two(20, num_alike=2, num_other=1, guidelines="11111111", judged_at=FIRST),
    ]

    none, first, second = figures(pairs)

    assert [row.version for row in (none, first, second)] == [None, "11111111", "22222222"], "in the order of their judgements"
    assert [row.since for row in (none, first, second)] == [BEFORE, FIRST, SECOND]
    assert [row.num_judgements for row in (none, first, second)] == [20, 6, 20]
    assert (none.agreement, second.agreement) == (share([0.5] * 10), share([1] * 9 + [0]))
    assert first.agreement == Share(count=3), "too few"
    assert none.alpha is not None and none.model == Share(count=0)


def test_two_annotators_of_one_task_under_different_versions_are_not_compared() -> None:
    pairs = [
        dataclasses.replace(pair, guidelines="11111111" if pair.annotator_id == 1 else "22222222")
        for pair in by_two(1, num_alike=10, num_other=0, guidelines=None, judged_at=FIRST)
    ]

    assert [row.agreement for row in figures(pairs)] == [Share(count=0)] * 2


def test_one_version_needs_no_rows() -> None:
    assert figures(by_two(1, num_alike=5, num_other=5, guidelines="11111111", judged_at=FIRST)) == ()
    assert figures(by_two(1, num_alike=5, num_other=5, guidelines=None, judged_at=FIRST)) == ()
    assert figures([]) == ()


def test_each_held_out_vote_agrees_with_the_model_or_does_not() -> None:
    """Three annotators judged ten tasks: two for the left answer under the first version, one for the right under the second."""
    sides: list[tuple[int, Outcome]] = [(1, "left"), (2, "left"), (3, "right")]
    votes = judged(*((task, who, side) for task in range(10) for who, side in sides))
    votes = [dataclasses.replace(vote, guidelines="22222222" if vote.annotator_id == 3 else "11111111") for vote in votes]
    votes += judged((100, 1, "left"), (100, 2, "right"), guidelines="11111111")  # decides nothing
    votes += judged((101, 1, "tie"), guidelines="11111111")

    first, second = figures(votes, votes, [1.0] * 7 + [-1.0] * 2 + [0.0])

    assert first.model == share([1] * 14 + [0] * 6)
    assert second.model == share([0] * 7 + [1] * 2 + [0]), "equal rewards are for nobody"


def test_the_card_has_a_table_of_the_versions() -> None:
    rows = figures(
        [
            *by_two(1, num_alike=5, num_other=5, guidelines=None, judged_at=BEFORE),
            *by_two(20, num_alike=9, num_other=1, guidelines="11111111", judged_at=FIRST),
        ]
    )

    (section,) = [
        each for each in sections(dataclasses.replace(CARD, report=ReportFigures(guidelines=rows))) if "guidelines" in each.title
    ]

    assert section.header == ("guidelines", "first judgement", "judgements", "two annotators agree", "Krippendorff's alpha")
    assert [row[:3] for row in section.rows] == [("none", "2026-11-01", "20"), ("11111111", "2026-11-02", "20")]
    assert section.rows[1][3] == "0.900 (95 % interval 0.596 to 0.982, of 10)"
