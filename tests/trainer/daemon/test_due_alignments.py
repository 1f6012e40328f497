"""Which projects' generators learn by themselves."""

import dataclasses
import logging

import pytest

from preference.errors import StudioUnreachable, TrainingError
from preference.projects.folder import ProjectFolder
from preference.projects.generators import Generators
from tests.conftest import SettingsFactory
from tests.support.due_lab import Lab
from tests.support.generator_versions import CARD, publish
from trainer.aligning.alignment import ALIGNMENT, UnfinishedAlignment
from trainer.daemon.due_alignments import DueAlignments
from trainer.rounds.lock import only_one
from trainer.rounds.outcome import Round
from trainer.rounds.unfinished import MAX_ATTEMPTS


@pytest.fixture
def lab(settings_for: SettingsFactory) -> Lab:
    return Lab(settings_for(align_min_new_pairs=10))


@pytest.fixture
def due(lab: Lab) -> DueAlignments:
    return lab.alignments()


def test_the_schedule_asks_and_the_next_look_begins(lab: Lab, due: DueAlignments) -> None:
    lab.projects[1].num_annotations = 10

    due.look()
    assert lab.rounds == [], "nobody asked"
    due.scheduled()
    assert lab.rounds == [] and lab.folders[1].is_requested("align"), "the rounds of that moment go first"
    due.look()
    due.look()

    assert lab.rounds == [1]
    assert not lab.folders[1].is_requested("align")


def test_fewer_new_judgements_than_the_setting_are_not_learnt_from(lab: Lab, due: DueAlignments) -> None:
    lab.projects[1].num_annotations = 9

    due.scheduled()
    due.look()

    assert lab.rounds == []


def test_judgements_count_from_those_on_that_the_latest_generator_version_read(lab: Lab, due: DueAlignments) -> None:
    lab.projects[1].num_annotations = 100
    publish(lab.folders[1], dataclasses.replace(CARD, num_annotations=100, newest_annotation=100, newest_change="2026-01-02"))

    for lab.projects[1].num_annotations, expected in ((109, []), (110, [1])):
        due.scheduled()
        due.look()
        assert lab.rounds == expected


def test_what_was_refused_is_not_asked_again_every_night(lab: Lab, due: DueAlignments) -> None:
    lab.ends = lambda folder: Round("skipped", "too few")
    lab.projects[1].num_annotations = 10
    for _ in range(3):
        due.scheduled()
        due.look()
    assert lab.rounds == [1]

    lab.projects[1].num_annotations = 20
    due.scheduled()
    due.look()
    assert lab.rounds == [1, 1]


def test_a_trainer_that_starts_again_takes_up_what_was_asked_for(lab: Lab, due: DueAlignments) -> None:
    lab.projects[1].num_annotations = 10
    due.scheduled()

    lab.alignments().look()

    assert lab.rounds == [1]


def test_a_label_studio_that_is_away_costs_no_process_and_it_stays_asked_for(lab: Lab, due: DueAlignments) -> None:
    lab.folders[1].request("align")
    lab.projects[1].error = StudioUnreachable("Label Studio does not answer.")

    due.look()

    assert lab.rounds == [] and lab.folders[1].is_requested("align")
    assert lab.noted() == {1: ["Label Studio does not answer."]}
    lab.projects[1].error = None
    due.look()
    assert lab.rounds == [1]
    assert lab.noted() == {}


def test_one_that_was_stopped_with_its_trainer_stays_asked_for(lab: Lab, due: DueAlignments) -> None:
    def stopped(folder: ProjectFolder) -> Round:
        raise TrainingError("The alignment was stopped before it ended.")

    lab.folders[1].request("align")
    lab.ends = stopped
    due.look()

    assert lab.folders[1].is_requested("align")


def test_one_that_is_killed_is_taken_up_three_times_at_most(
    lab: Lab, due: DueAlignments, caplog: pytest.LogCaptureFixture
) -> None:
    def killed(folder: ProjectFolder) -> Round:
        UnfinishedAlignment(folder).begin()
        return Round("failed", "the alignment's process was killed (signal 9, SIGKILL: out of memory?)")

    caplog.set_level(logging.INFO, logger="pairloop.daemon")
    lab.folders[1].request("align")
    lab.ends = killed
    for _ in range(MAX_ATTEMPTS + 2):
        due.look()

    assert lab.rounds == [1] * MAX_ATTEMPTS
    assert not UnfinishedAlignment(lab.folders[1]).exists
    assert caplog.messages[:2] == [
        "project 1: alignment begins (it was asked for)",
        "project 1: alignment begins (the one before was killed)",
    ]
    (given_up,) = [message for message in caplog.messages if "is given up" in message]
    assert given_up.endswith("(out of memory: name a smaller GENERATOR_MODEL)")


def test_one_that_takes_the_trainer_down_with_it_is_given_up_as_well(lab: Lab, caplog: pytest.LogCaptureFixture) -> None:
    lab.folders[1].request("align")
    for _ in range(MAX_ATTEMPTS):
        UnfinishedAlignment(lab.folders[1]).begin()

    lab.alignments().look()

    assert lab.rounds == [] and not lab.folders[1].is_requested("align")
    assert not UnfinishedAlignment(lab.folders[1]).exists
    assert "is given up" in caplog.text


def test_one_that_somebody_runs_by_hand_is_left_to_them(lab: Lab, due: DueAlignments) -> None:
    lab.folders[1].request("align")

    with only_one(lab.folders[1], ALIGNMENT):
        due.look()
    assert lab.rounds == []

    due.look()
    assert lab.rounds == [1]


def test_a_project_that_fails_does_not_keep_the_others_from_learning(lab: Lab, due: DueAlignments) -> None:
    for folder in lab.folders.values():
        folder.request("align")
    (Generators(lab.folders[1]).folder.path / "aligning").write_text("no folder")
    lab.ends = lambda folder: Round("promoted", "better")

    due.look()

    assert 2 in lab.rounds
