"""A round that failed is tried again: when the next one is due, and after a wait that grows."""

import logging
import shutil
from itertools import pairwise

import pytest

from preference.projects.folder import ProjectFolder
from preference.projects.status_files import LastRound, write_last_round
from tests.conftest import SettingsFactory
from tests.support.due_lab import Lab
from tests.support.statuses import status_of
from trainer.daemon.failures import Failures
from trainer.rounds.outcome import Round
from trainer.rounds.unfinished import MAX_ATTEMPTS, UnfinishedRound

MINUTE, HOUR, DAY = 60.0, 3600.0, 24 * 3600.0
FULL = Round("failed", "/models cannot be written (No space left on device); free some space")


@pytest.fixture
def lab(settings_for: SettingsFactory) -> Lab:
    """Project 1 has enough new judgements for a round, and its rounds fail."""
    lab = Lab(settings_for(min_new_pairs=10))
    lab.projects[1].num_annotations = 10
    lab.ends = lambda folder: FULL
    return lab


def test_a_disk_that_was_full_once_costs_one_night(lab: Lab) -> None:
    lab.projects[1].num_annotations = 1
    lab.watch.scheduled()
    lab.ends = lambda folder: Round("promoted", "better", lab.publish(folder))
    for _ in range(2):
        lab.now += DAY
        lab.watch.scheduled()

    assert lab.rounds == [1, 1], "the second night's round read all"


def test_it_is_not_tried_again_at_the_next_look(lab: Lab) -> None:
    for _ in range(3):
        lab.watch.look()
        lab.watch.scheduled()
        lab.now += 3 * MINUTE

    assert lab.rounds == [1]


def test_a_look_after_the_wait_tries_it_again_with_the_same_judgements(lab: Lab) -> None:
    lab.watch.look()
    lab.now += 10 * MINUTE
    lab.watch.look()

    assert lab.rounds == [1, 1]


def test_a_round_by_hand_that_ends_well_ends_the_wait(lab: Lab) -> None:
    for _ in range(5):
        lab.watch.look()
        lab.now += DAY
    lab.now -= DAY
    write_last_round(lab.folders[1], "promoted", reason="better", version=lab.publish(lab.folders[1]), seconds=1)
    lab.now += 2 * MINUTE
    lab.projects[1].num_annotations += 10
    lab.ends = lambda folder: Round("promoted", "better", lab.publish(folder))
    num_failed = len(lab.rounds)

    lab.watch.look()

    assert len(lab.rounds) == num_failed + 1


def test_what_is_due_by_the_schedule_alone_waits_for_the_schedule(lab: Lab) -> None:
    lab.projects[1].num_annotations = 9
    lab.watch.scheduled()
    lab.now += DAY
    lab.watch.look()
    assert lab.rounds == [1]

    lab.watch.scheduled()
    assert lab.rounds == [1, 1]


def test_the_waits_grow_up_to_six_hours(lab: Lab) -> None:
    began, times = lab.now, []
    lab.ends = lambda folder: times.append((lab.now - began) / MINUTE) or FULL  # type: ignore[func-returns-value]
    while lab.now < began + DAY:
        lab.watch.look()
        lab.now += MINUTE

    waits = [later - earlier for earlier, later in pairwise(times)]
    assert waits == [10, 20, 40, 80, 160, 320, 360, 360]


def test_a_schedule_of_four_rounds_a_day_leaves_none_out_however_often_they_fail(lab: Lab) -> None:
    for _ in range(40):
        lab.watch.scheduled()
        lab.now += 6 * HOUR

    assert lab.rounds == [1] * 40


def test_a_round_that_ends_well_ends_the_waits(lab: Lab) -> None:
    for _ in range(3):
        lab.watch.look()
        lab.now += DAY
    lab.ends = lambda folder: Round("rejected", "worse", lab.publish(folder))
    lab.watch.look()
    lab.ends = lambda folder: FULL
    lab.projects[1].num_annotations += 10
    lab.watch.look()
    lab.now += 10 * MINUTE
    lab.watch.look()

    assert len(lab.rounds) == 6


def test_who_asks_for_a_round_need_not_wait(lab: Lab) -> None:
    lab.watch.look()
    lab.folders[1].request("train")
    lab.watch.look()

    assert lab.rounds == [1, 1]


def test_the_log_says_when_it_is_tried_again(lab: Lab, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, logger="pairloop.daemon")
    for _ in range(2):
        lab.watch.look()
        lab.now += DAY

    assert [message for message in caplog.messages if "failed" in message] == [
        "project 1: the last round failed; the next one waits for 10 min, unless somebody asks for it",
        "project 1: the last 2 rounds failed; the next one waits for 20 min, unless somebody asks for it",
    ]


def test_other_processes_learn_until_when_a_project_waits(lab: Lab) -> None:
    lab.watch.look()
    failed_at = lab.now
    lab.now += MINUTE
    lab.watch.look()
    assert status_of(lab.folders[1]).counts.not_before == failed_at + 10 * MINUTE

    lab.ends = lambda folder: Round("promoted", "better", lab.publish(folder))
    lab.now += 10 * MINUTE
    lab.watch.look()
    assert status_of(lab.folders[1]).counts.not_before is None


def test_a_project_whose_folder_was_deleted_begins_without_the_waits_of_before(lab: Lab) -> None:
    lab.watch.look()
    shutil.rmtree(lab.folders[1].path)
    lab.watch.look()
    assert lab.rounds == [1]

    lab.folders[1].create()
    lab.watch.look()

    assert lab.rounds == [1, 1]


def test_one_project_that_fails_holds_up_no_other(lab: Lab) -> None:
    lab.folders[2].create()
    lab.projects[2].num_annotations = 10
    lab.ends = lambda folder: FULL if folder.project_id == 1 else Round("promoted", "better", lab.publish(folder))
    lab.watch.look()
    lab.projects[2].num_annotations = 20
    lab.watch.look()

    assert lab.rounds == [1, 2, 2]


def test_a_clock_that_is_set_back_makes_no_wait_longer(lab: Lab) -> None:
    lab.watch.look()
    lab.now -= DAY
    lab.watch.look()

    assert lab.rounds == [1, 1]


def test_rounds_that_are_killed_again_and_again_are_tried_again_after_a_wait(lab: Lab) -> None:
    def killed(folder: ProjectFolder) -> Round:
        UnfinishedRound(folder).begin()
        return Round("failed", "the round's process was killed (signal 9, SIGKILL: out of memory?)")

    lab.ends = killed
    for _ in range(10):
        lab.watch.look()
    assert lab.rounds == [1] * MAX_ATTEMPTS

    lab.now += 40 * MINUTE
    for _ in range(10):
        lab.watch.look()
    assert lab.rounds == [1] * 2 * MAX_ATTEMPTS


@pytest.mark.parametrize(("minutes", "num_rounds"), [(3, 0), (10, 1)])
def test_a_trainer_that_starts_again_knows_of_the_last_failure(lab: Lab, minutes: float, num_rounds: int) -> None:
    write_last_round(lab.folders[1], "failed", reason=FULL.reason, version=None, seconds=1)
    lab.now = (LastRound.read(lab.folders[1].path).at or 0) + minutes * MINUTE

    lab.started().look()

    assert len(lab.rounds) == num_rounds


@pytest.mark.parametrize("outcome", ["promoted", "rejected", "skipped"])
def test_a_trainer_that_starts_again_waits_after_no_other_end(lab: Lab, outcome: str) -> None:
    write_last_round(lab.folders[1], outcome, reason="", version=None, seconds=1)
    lab.now = LastRound.read(lab.folders[1].path).at or 0

    lab.started().look()

    assert lab.rounds == [1]


def test_a_disk_on_which_nothing_can_be_kept_leads_to_no_round_after_the_other(lab: Lab) -> None:
    (lab.folders[1].path / "last_round.json").mkdir()  # root may write into a read-only folder

    for _ in range(3):
        lab.watch.look()

    assert lab.rounds == [1]


def test_no_number_of_failures_is_too_large() -> None:
    assert Failures(10_000, 0.0).waits_until(6 * HOUR - 1) == 6 * HOUR
    assert Failures(10_000, 0.0).waits_until(6 * HOUR) is None
