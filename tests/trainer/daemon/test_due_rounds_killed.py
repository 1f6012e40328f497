"""A round that was killed is taken up by the trainer, three times at most."""

import logging

import pytest

from preference.errors import StudioUnreachable
from preference.projects.folder import ProjectFolder
from tests.conftest import SettingsFactory
from tests.support.due_lab import Lab
from tests.support.statuses import read_json, write_counts
from trainer.rounds.lock import only_one
from trainer.rounds.outcome import Round
from trainer.rounds.unfinished import MAX_ATTEMPTS, Snapshot, UnfinishedRound

UNREACHABLE = StudioUnreachable("Label Studio at http://localhost:8080 does not answer; start it.")


@pytest.fixture
def lab(settings_for: SettingsFactory) -> Lab:
    return Lab(settings_for(min_new_pairs=10))


def test_a_round_that_was_killed_is_taken_up_at_the_next_look(lab: Lab, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, logger="pairloop.daemon")
    UnfinishedRound(lab.folders[1]).begin()

    lab.watch.look()

    assert lab.rounds == [1]
    assert caplog.messages == ["project 1: round begins (the one before was killed)"]


class Killed(BaseException):
    """SIGKILL, as far as what lies on the disk goes: nothing is caught."""


@pytest.mark.parametrize("is_asked_for", [True, False], ids=["asked for", "scheduled"])
def test_a_round_whose_processes_are_killed_before_it_begins_is_taken_up(lab: Lab, is_asked_for: bool) -> None:
    def killed(folder: ProjectFolder) -> Round:
        raise Killed

    lab.ends = killed
    with pytest.raises(Killed):
        if is_asked_for:
            lab.folders[1].request("train")
            lab.watch.look()
        else:
            lab.projects[1].num_annotations = 1
            lab.watch.scheduled()
    lab.ends = lambda folder: Round("promoted", "better")
    lab.watch.look()
    lab.watch.look()

    assert lab.rounds == [1, 1]
    assert not UnfinishedRound(lab.folders[1]).exists


def test_a_round_whose_process_cannot_even_begin_is_not_tried_for_ever(lab: Lab) -> None:
    lab.folders[1].request("train")
    lab.ends = lambda folder: Round("failed", "the round's process ended with status 1")
    for _ in range(3):
        lab.watch.look()

    assert lab.rounds == [1]


def test_a_round_that_is_killed_again_and_again_is_tried_three_times(lab: Lab, caplog: pytest.LogCaptureFixture) -> None:
    def killed(folder: ProjectFolder) -> Round:
        UnfinishedRound(folder).begin()
        return Round("failed", "the round's process was killed (signal 9, SIGKILL: out of memory?)")

    lab.folders[1].request("train")
    lab.ends = killed
    for _ in range(MAX_ATTEMPTS + 2):
        lab.watch.look()
        lab.watch.scheduled()

    assert lab.rounds == [1] * MAX_ATTEMPTS
    assert not UnfinishedRound(lab.folders[1]).exists
    assert [message for message in caplog.messages if "is given up" in message] == caplog.messages


def test_after_a_round_was_given_up_new_judgements_begin_another(lab: Lab) -> None:
    for _ in range(MAX_ATTEMPTS):
        UnfinishedRound(lab.folders[1]).begin()
    lab.watch.look()
    assert lab.rounds == []

    lab.projects[1].num_annotations = 10
    lab.watch.look()
    assert lab.rounds == [1]


def test_a_round_that_another_process_runs_is_not_taken_up(lab: Lab) -> None:
    UnfinishedRound(lab.folders[1]).begin()

    with only_one(lab.folders[1]):
        lab.watch.look()
    assert lab.rounds == []

    lab.watch.look()
    assert lab.rounds == [1]


def test_a_round_that_was_killed_with_its_trainer_does_not_stand_as_running_for_ever(lab: Lab) -> None:
    write_counts(lab.folders[1], 12, title="Answers", training_since=1.0)
    lab.projects[1].error = UNREACHABLE

    lab.watch.look()

    assert read_json(lab.folders[1].path / "waiting.json") == {"title": "Answers", "judgements": 12}


def test_a_label_studio_that_is_away_costs_a_killed_round_no_attempt(lab: Lab) -> None:
    unfinished = UnfinishedRound(lab.folders[1])
    unfinished.begin()
    unfinished.keep(Snapshot([], 0, {}))
    lab.projects[1].error = UNREACHABLE

    lab.watch.look()

    assert (lab.rounds, unfinished.num_attempts) == ([], 1)
