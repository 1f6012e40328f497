"""Which projects get a round."""

import json
import logging
from typing import Any

import pytest

from preference.errors import PairloopError, StudioKeyError, StudioUnreachable, TrainingError
from preference.projects.folder import ProjectFolder
from preference.projects.guidelines import Guidelines, version_of
from preference.projects.versions import Versions
from preference.studio.project import LabelStudioProject
from tests.conftest import SettingsFactory
from tests.support.cards import EMPTY_CARD
from tests.support.due_lab import Lab
from tests.support.round_that_waits import CountedProject
from tests.support.studio_double import KEY, StudioDouble
from trainer.daemon.due_rounds import DueRounds
from trainer.rounds.outcome import Round


@pytest.fixture
def lab(settings_for: SettingsFactory) -> Lab:
    return Lab(settings_for(min_new_pairs=10))


# Which projects get a round


def test_a_training_request_starts_one_round(lab: Lab) -> None:
    lab.folders[1].request("train")

    lab.watch.look()
    lab.watch.look()

    assert lab.rounds == [1]


def test_enough_new_judgements_start_a_round_by_themselves(lab: Lab) -> None:
    lab.projects[1].num_annotations = 10

    lab.watch.look()

    assert lab.rounds == [1]


def test_fewer_new_judgements_start_none(lab: Lab) -> None:
    lab.projects[1].num_annotations = 9

    lab.watch.look()

    assert lab.rounds == []


def test_judgements_count_from_the_latest_version_on(lab: Lab) -> None:
    lab.projects[1].num_annotations = 100
    lab.publish(lab.folders[1])

    for lab.projects[1].num_annotations, expected in ((109, []), (110, [1])):
        lab.watch.look()
        assert lab.rounds == expected


def test_a_rejected_challenger_is_not_retrained_at_the_next_look(lab: Lab) -> None:
    lab.ends = lambda folder: Round("rejected", "worse", lab.publish(folder))
    lab.projects[1].num_annotations = 10

    lab.watch.look()
    lab.watch.look()
    lab.watch.scheduled()
    assert lab.rounds == [1]

    lab.projects[1].num_annotations = 20
    lab.watch.look()
    assert lab.rounds == [1, 1]


def test_a_round_that_was_skipped_is_not_repeated_until_there_is_a_new_judgement(lab: Lab) -> None:
    lab.ends = lambda folder: Round("skipped", "too few pairs")
    lab.projects[1].num_annotations = 10

    lab.watch.look()
    lab.watch.look()
    lab.watch.scheduled()
    assert lab.rounds == [1]

    lab.projects[1].num_annotations = 11
    lab.watch.look()
    assert lab.rounds == [1], "one judgement more is for the schedule"
    lab.watch.scheduled()
    assert lab.rounds == [1, 1]
    lab.projects[1].num_annotations = 21
    lab.watch.look()
    assert lab.rounds == [1, 1, 1]


def test_a_request_starts_a_round_even_after_one_without_a_version(lab: Lab) -> None:
    lab.ends = lambda folder: Round("skipped", "too few pairs")
    for _ in range(2):
        lab.folders[1].request("train")
        lab.watch.look()

    assert lab.rounds == [1, 1]


def test_deleted_judgements_do_not_hide_later_ones(lab: Lab) -> None:
    lab.projects[1].num_annotations = 100
    lab.publish(lab.folders[1])
    lab.watch.look()

    for lab.projects[1].num_annotations in (50, 59):
        lab.watch.look()
        assert lab.rounds == []
    lab.projects[1].num_annotations = 60
    lab.watch.look()
    assert lab.rounds == [1]


def test_deleted_judgements_hide_no_later_ones_from_a_trainer_that_starts_again(lab: Lab) -> None:
    lab.projects[1].num_annotations = 1000
    lab.publish(lab.folders[1])
    lab.projects[1].num_annotations = 400
    lab.projects[1].num_annotations = 409

    lab.started().look()
    assert lab.rounds == []
    lab.projects[1].num_annotations = 410
    lab.started().look()
    assert lab.rounds == [1]


def test_edits_alone_start_a_round(lab: Lab) -> None:
    lab.projects[1].num_annotations = 100
    lab.publish(lab.folders[1])

    lab.projects[1].edit(9)
    lab.watch.look()
    assert lab.rounds == []
    lab.watch.scheduled()
    assert lab.rounds == [1]
    lab.projects[1].edit(10)
    lab.watch.look()
    assert lab.rounds == [1, 1]


def test_a_look_asks_label_studio_twice_whatever_is_new(
    studio: StudioDouble, project: LabelStudioProject, settings_for: SettingsFactory
) -> None:
    settings = settings_for(label_studio_url=studio.url, label_studio_api_key=KEY)
    ProjectFolder(settings.model_dir, project.id).create()
    folder = ProjectFolder(settings.model_dir, project.id)
    watch = DueRounds(settings, lambda project, folder: Round("skipped", "few"))

    for task_id in [0, *studio.add_tasks(project.id, *[{"prompt": "p"}] * 3)]:
        if task_id:
            studio.annotate(task_id, [])
            watch.look()  # before the first round, a look reads the judgements as well if their number has changed
        studio.requests.clear()
        watch.look()
        assert task_id == 0 or studio.requests == [f"GET /api/projects/{project.id}/", "GET /api/tasks/"]
    folder.path.joinpath("trained").mkdir()
    Versions(folder).publish(folder.path / "trained", EMPTY_CARD)
    for task_id in studio.add_tasks(project.id, *[{"prompt": "p"}] * 3):
        studio.annotate(task_id, [])
        studio.requests.clear()
        watch.look()
        assert studio.requests == [f"GET /api/projects/{project.id}/", "GET /api/tasks/"]


def test_a_look_notices_guidelines_that_were_edited_in_label_studio(
    studio: StudioDouble, project: LabelStudioProject, settings_for: SettingsFactory
) -> None:
    settings = settings_for(label_studio_url=studio.url, label_studio_api_key=KEY)
    folder, now = ProjectFolder(settings.model_dir, project.id), [1_790_000_000.0]
    folder.create()
    watch = DueRounds(settings, lambda project, folder: Round("skipped", "few"), clock=lambda: now[0])

    for text in ("", "Be kind.", "Be kind.", "Be honest."):
        studio.projects[project.id]["expert_instruction"] = text
        watch.look()
        now[0] += 60

    versions = Guidelines.read(folder).versions
    assert [each.version for each in versions] == ["", version_of("Be kind."), version_of("Be honest.")]
    assert [each.since.timestamp() for each in versions[1:] if each.since] == [1_790_000_060, 1_790_000_180]
    (folder.path / "guidelines.json").write_text("{")
    folder.request("train")
    watch.look()
    assert not folder.is_requested("train"), "no round waits for a file that is damaged"


def test_a_look_that_waited_behind_a_round_begins_none_when_the_trainer_stops(lab: Lab) -> None:
    lab.folders[1].request("train")
    lab.watch.is_stopping = True

    lab.watch.look()

    assert lab.rounds == []
    assert lab.folders[1].take_request("train")


def test_the_schedule_needs_one_new_judgement(lab: Lab) -> None:
    lab.watch.scheduled()
    assert lab.rounds == []

    lab.projects[1].num_annotations = 1
    lab.watch.scheduled()
    assert lab.rounds == [1]


def test_the_schedule_leaves_a_request_to_the_next_look(lab: Lab) -> None:
    lab.folders[1].request("train")

    lab.watch.scheduled()

    assert lab.rounds == []
    assert lab.folders[1].take_request("train")


def test_a_round_of_the_schedule_is_the_one_that_was_asked_for(lab: Lab) -> None:
    lab.folders[1].request("train")
    lab.projects[1].num_annotations = 1

    lab.watch.scheduled()
    lab.watch.look()

    assert lab.rounds == [1]


UNREACHABLE = StudioUnreachable("Label Studio at http://localhost:8080 does not answer; start it.")


def test_a_request_outlives_an_unreachable_label_studio_during_the_round(lab: Lab) -> None:
    def no_answer(folder: ProjectFolder) -> Round:
        raise UNREACHABLE

    lab.folders[1].request("train")
    lab.ends = no_answer
    lab.watch.look()
    lab.ends = lambda folder: Round("promoted", "better")
    lab.watch.look()
    lab.watch.look()

    assert lab.rounds == [1, 1]


@pytest.mark.parametrize(
    "error", [UNREACHABLE, StudioKeyError("Label Studio refuses LABEL_STUDIO_API_KEY.")], ids=["down", "key"]
)
def test_a_request_outlives_a_label_studio_that_cannot_be_read_before_the_round(lab: Lab, error: PairloopError) -> None:
    lab.folders[1].request("train")
    lab.projects[1].error = error
    lab.watch.look()
    assert lab.rounds == []

    lab.projects[1].error = None
    lab.watch.look()
    lab.watch.look()
    assert lab.rounds == [1]


def test_nobody_asked_for_what_an_unreachable_label_studio_prevented(lab: Lab) -> None:
    lab.projects[1].error = UNREACHABLE

    lab.watch.look()
    lab.watch.scheduled()

    assert not lab.folders[1].take_request("train")


def test_an_unreachable_label_studio_is_logged_once_until_it_answers_again(lab: Lab, caplog: pytest.LogCaptureFixture) -> None:
    for error in (UNREACHABLE, UNREACHABLE, None, UNREACHABLE):
        lab.projects[1].error = error
        lab.watch.look()

    assert caplog.messages == [f"project 1: {UNREACHABLE}"] * 2


def test_a_project_that_cannot_be_read_does_not_hold_up_the_next(lab: Lab) -> None:
    lab.folders[2].create()
    lab.projects[1].error = UNREACHABLE
    lab.projects[2].num_annotations = 10

    lab.watch.look()

    assert lab.rounds == [2]


class OddProject(CountedProject):
    """One of which Label Studio says what nobody expects."""

    def read(self) -> dict[str, Any]:
        return {"total_annotations_number": "many"}


def test_what_nobody_expects_of_one_project_is_said_once_and_does_not_hold_up_the_next(
    lab: Lab, caplog: pytest.LogCaptureFixture
) -> None:
    lab.folders[2].create()
    lab.projects[1], lab.projects[2].num_annotations = OddProject(1), 10
    for _ in range(2):
        lab.watch.look()

    assert lab.rounds[0] == 2
    (record,) = (record for record in caplog.records if record.name == "pairloop.daemon")
    assert (record.getMessage(), record.exc_info is not None) == ("project 1: the trainer failed to look at it", True)
    assert lab.noted() == {1: ["the trainer failed to look at it"]}


def test_what_fails_a_look_is_known_to_other_processes_until_it_is_over(lab: Lab) -> None:
    for lab.projects[1].error, problems in ((UNREACHABLE, {1: [str(UNREACHABLE)]}), (None, {})):
        lab.watch.look()
        assert lab.noted() == problems


def test_a_round_says_why_it_begins(lab: Lab, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, logger="pairloop.daemon")
    lab.projects[1].num_annotations = 10
    lab.watch.look()
    lab.folders[1].request("train")
    lab.watch.look()

    assert caplog.messages == [
        "project 1: round begins (10 new judgements)",
        "project 1: round begins (a training request)",
    ]


def test_a_damaged_card_keeps_no_project_from_its_round(lab: Lab) -> None:
    lab.folders[2].create()
    card = Versions(lab.folders[1]).path(lab.publish(lab.folders[1])) / "card.json"
    card.write_text(json.dumps(json.loads(card.read_text()) | {"num_annotations": "many"}))
    for number in (1, 2):
        lab.projects[number].num_annotations = 10

    lab.watch.look()

    assert lab.rounds == [1, 2]


def test_a_request_outlives_a_round_that_another_process_runs(lab: Lab, caplog: pytest.LogCaptureFixture) -> None:
    def is_taken(folder: ProjectFolder) -> Round:
        raise TrainingError("Another process is in the middle of a round of project 1; this one leaves it to that.")

    lab.folders[1].request("train")
    lab.ends = is_taken
    lab.watch.look()
    lab.watch.look()
    lab.ends = lambda folder: Round("promoted", "better")
    lab.watch.look()
    lab.watch.look()

    assert lab.rounds == [1, 1, 1]
    assert len(caplog.messages) == 1, "logged once"
