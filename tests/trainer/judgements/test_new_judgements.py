"""What counts as a new judgement, and what it costs to know that."""

import dataclasses
import random
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest

from preference.errors import StudioUnreachable
from preference.labelling.controls.repeats import Repeat, Shown
from preference.report_card.card import ReportCard
from tests.conftest import SettingsFactory
from tests.support.cards import EMPTY_CARD
from tests.support.judgement_house import DAY, LEFT, MINUTE, RIGHT, House
from tests.support.studio_double import KEY, StudioDouble
from trainer.judgements.new_judgements import NewJudgements, Reach, reach_of

REPEAT = Repeat(1, 2, Shown()).to_meta()


@pytest.fixture
def house(settings_for: SettingsFactory, caplog: pytest.LogCaptureFixture) -> Iterator[House]:
    with StudioDouble() as studio:
        yield House(studio, settings_for(label_studio_url=studio.url, label_studio_api_key=KEY), caplog)


def total(house: House) -> int:
    return int(house.project.read()["total_annotations_number"])


def card_of(house: House) -> ReportCard:
    """The card of a version that is trained now."""
    return dataclasses.replace(EMPTY_CARD, num_annotations=total(house), **vars(reach_of(house.read())))


def count(house: House, new: NewJudgements) -> int:
    house.now += 1
    return new.count(house.project, total(house))


def test_how_far_judgements_reach_is_their_largest_id_and_their_latest_change(house: House) -> None:
    ids = house.judged(3)
    house.studio.edit(house.annotation(ids[1]), result=RIGHT)
    skip = house.studio.annotate(ids[0], [], is_skip=True)
    edited = datetime.fromtimestamp(house.now, UTC)

    assert reach_of(house.read()) == Reach(skip["id"], f"{edited:%Y-%m-%dT%H:%M:%S}.000000Z")
    assert reach_of([]) == Reach()


def test_before_the_first_version_every_judgement_is_new(house: House) -> None:
    house.judged(3)
    house.studio.annotate(house.judged(1)[0], [], is_skip=True)

    assert count(house, NewJudgements.since(None)) == 4


def test_deleted_judgements_hide_no_later_ones_from_a_trainer_that_starts(house: House) -> None:
    ids = house.judged(100)
    card = card_of(house)
    for task_id in ids[:60]:
        house.studio.delete_annotation(house.annotation(task_id))
    house.judged(30)

    assert count(house, NewJudgements.since(card)) == 30


def test_edits_alone_are_new(house: House) -> None:
    ids = house.judged(5)
    new = NewJudgements.since(card_of(house))
    assert count(house, new) == 0

    for task_id in ids[:2]:
        house.studio.edit(house.annotation(task_id), result=RIGHT)

    assert count(house, new) == 2
    assert count(house, new) == 2, "each once"


def test_a_second_judgement_of_a_task_is_one_more(house: House) -> None:
    ids = house.judged(5)
    new = NewJudgements.since(card_of(house))
    for expected in (1, 2):
        house.studio.annotate(ids[0], RIGHT)
        assert count(house, new) == expected


def test_a_skip_is_no_judgement_and_one_that_is_taken_back_is(house: House) -> None:
    ids = house.judged(2)
    skip = house.studio.annotate(ids[0], [], is_skip=True)
    new = NewJudgements.since(card_of(house))
    later = house.studio.annotate(ids[1], [], is_skip=True)
    assert count(house, new) == 0

    for made in (skip, later):
        house.studio.edit(made["id"], was_cancelled=False, result=LEFT)
    assert count(house, new) == 2


def test_what_was_new_and_is_deleted_is_not_new_any_more(house: House) -> None:
    house.judged(5)
    new = NewJudgements.since(card_of(house))
    first, second, third = house.judged(3)
    assert count(house, new) == 3

    house.studio.delete_annotation(house.annotation(first))
    del house.studio.tasks[second]
    house.studio.annotate(third, RIGHT)

    assert count(house, new) == 2


def test_what_touches_a_judged_task_and_no_judgement_is_not_new(house: House) -> None:
    ids = house.judged(3)
    new = NewJudgements.since(card_of(house))
    house.project.store_meta(ids[0], {"pairloop_suspect": {}})
    house.project.store_answers(ids[1], data={"prompt": "corrected"}, meta={})

    assert count(house, new) == 0


@pytest.mark.parametrize("minutes", [-10, 10])
def test_the_trainers_clock_plays_no_part(house: House, minutes: float) -> None:
    house.judged(50)
    created_at = datetime.fromtimestamp(house.now + minutes * MINUTE, UTC).isoformat()
    card = dataclasses.replace(card_of(house), created_at=created_at)
    house.now += MINUTE
    house.judged(2)

    assert count(house, NewJudgements.since(card)) == 2


def test_a_judgement_that_label_studio_dates_back_is_new(house: House) -> None:
    house.judged(3)
    card = card_of(house)
    house.now -= DAY
    house.judged(2)

    assert count(house, NewJudgements.since(card)) == 2


def test_the_card_of_an_earlier_build_says_when_it_was_published(house: House) -> None:
    ids = house.judged(10)
    published = datetime.fromtimestamp(house.now, UTC).isoformat()
    card = dataclasses.replace(card_of(house), **vars(Reach()), created_at=published)
    for task_id in ids[:6]:
        house.studio.delete_annotation(house.annotation(task_id))
    house.now += MINUTE
    house.judged(3)

    assert count(house, NewJudgements.since(card)) == 3


@pytest.mark.parametrize("damaged", ["", "yesterday", "0001-01-01T00:00:00+00:00", "9999-12-31T23:59:59-23:59"])
def test_without_any_time_new_ones_are_counted_by_the_totals(house: House, damaged: str) -> None:
    house.judged(3)
    card = dataclasses.replace(card_of(house), newest_change=damaged or None, created_at=damaged)
    house.judged(2)

    assert count(house, NewJudgements.since(card)) == 2


def test_after_a_round_that_was_skipped_only_later_ones_are_new(house: House) -> None:
    ids = house.judged(3)
    new = NewJudgements.since(None)
    count(house, new)
    new = new.later(total(house))
    assert count(house, new) == 0

    house.studio.edit(house.annotation(ids[0]), result=RIGHT)
    house.judged(1)
    assert count(house, new) == 2


def test_a_list_that_broke_off_is_read_again(house: House) -> None:
    house.judged(1)
    new = NewJudgements.since(card_of(house))
    count(house, new)
    house.judged(501)  # two pages
    house.studio.requests.clear()

    def break_off(request: str) -> None:
        if house.studio.requests.count("GET /api/tasks/") == 2:
            house.studio.failures.append(503)

    house.studio.on_request = break_off
    with pytest.raises(StudioUnreachable):
        new.count(house.project, 502)
    house.studio.on_request = lambda request: None

    assert count(house, new) == 501


def test_a_look_costs_one_request_however_many_are_new(house: House) -> None:
    house.judged(700)
    new = NewJudgements.since(card_of(house))
    house.judged(600)
    count(house, new)
    costs = []
    for num_made in (0, 0, 3, 0):
        house.judged(num_made)
        counted = total(house)
        house.studio.requests.clear()
        new.count(house.project, counted)
        costs.append(list(house.studio.requests))

    assert costs == [["GET /api/tasks/"]] * 4


def test_whatever_happens_as_many_are_new_as_were_made_or_edited(house: House) -> None:
    chance, studio = random.Random(12), house.studio
    ids = house.judged(8)
    card = card_of(house)
    newest, since = card.newest_annotation or 0, card.newest_change or ""
    followed = NewJudgements.since(card)

    for _ in range(150):
        for _ in range(chance.randrange(4)):
            house.now += chance.choice([1, 20, 30 * MINUTE])
            house.something_happens(chance, ids)
        standing = [made for task in studio.tasks.values() for made in task["annotations"] if not made["was_cancelled"]]
        expected = sum(made["id"] > newest or made["updated_at"] > since for made in standing)
        assert count(house, followed) == count(house, NewJudgements.since(card)) == expected


def test_what_is_said_of_repeats_is_not_new_whoever_says_it(house: House) -> None:
    ids = house.judged(3)
    new = NewJudgements.since(card_of(house))
    (copy,) = house.studio.add_tasks(house.project.id, {"prompt": "p0", "answer1": "b", "answer2": "a"}, meta=REPEAT)
    house.studio.annotate(copy, LEFT)
    assert count(house, new) == 0
    house.studio.annotate(ids[0], LEFT)
    house.studio.annotate(copy, RIGHT)
    assert count(house, new) == 1
    assert count(house, new.later(total(house))) == 0
    assert count(house, NewJudgements.since(None)) == 4


def test_a_reading_knows_what_a_task_repeats_and_so_does_the_next(house: House) -> None:
    house.judged(2)
    (copy,) = house.studio.add_tasks(house.project.id, {"prompt": "p0"}, meta={**REPEAT, "mine": 1})
    house.studio.annotate(copy, LEFT)
    for _ in range(2):
        assert [task.get("meta") for task in house.read()] == [None, None, REPEAT]
        house.now += MINUTE
