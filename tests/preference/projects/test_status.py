import shutil
import signal
import sys
import time
from pathlib import Path

import pytest
from filelock import FileLock

from preference.errors import StudioUnreachable
from preference.projects.folder import ProjectFolder
from preference.projects.status import read_overview, read_trainer_status
from preference.projects.status_files import write_next_round
from preference.projects.trainer_heartbeat import mark_alive
from preference.studio.project import LabelStudioProject
from tests.conftest import SettingsFactory
from tests.support.round_that_waits import CountedProject
from tests.support.statuses import keep_filling, read_json, status_of, write_counts
from tests.support.studio_double import KEY, StudioDouble
from trainer.daemon.due_rounds import DueRounds
from trainer.daemon.round_process import RoundProcesses
from trainer.rounds.outcome import Round, run_here, write_outcome


@pytest.fixture
def folder(settings_for: SettingsFactory) -> ProjectFolder:
    folder = ProjectFolder(settings_for().model_dir, 3)
    folder.create()
    return folder


def refuse(project: LabelStudioProject, folder: ProjectFolder) -> Round:
    pytest.fail("no round was due")


def test_before_a_trainer_wrote_anything_nothing_is_known(folder: ProjectFolder) -> None:
    status = status_of(folder)
    assert (status.num_new_judgements, status.last_round.outcome, status.name) == (None, "", "Project 3")


def test_a_round_writes_how_it_ended(folder: ProjectFolder) -> None:
    began = time.time()

    run_here(folder, lambda: Round("promoted", "accuracy 0.700", "v1-20261121-062026"))

    written = read_json(folder.path / "last_round.json")
    assert began - 1 <= written.pop("at") <= time.time() + 1
    assert 0 <= written.pop("seconds") < 60
    assert written == {"outcome": "promoted", "reason": "accuracy 0.700", "version": "v1-20261121-062026"}


def test_a_round_that_never_ran_leaves_what_is_known_of_the_last_one(folder: ProjectFolder) -> None:
    def no_answer() -> Round:
        raise StudioUnreachable("Label Studio does not answer.")

    run_here(folder, lambda: Round("skipped", "few"))
    run_here(folder, no_answer)

    assert status_of(folder).last_round.outcome == "skipped"


def test_the_daemon_writes_how_a_killed_round_ended(folder: ProjectFolder, settings_for: SettingsFactory) -> None:
    rounds = RoundProcesses([sys.executable, "-c", f"import os; os.kill(os.getpid(), {signal.SIGKILL})"])

    rounds(LabelStudioProject(settings_for().studio, 3), folder)

    last = status_of(folder).last_round
    assert (last.outcome, last.version) == ("failed", None)
    assert last.reason == "the round's process was killed (signal 9, SIGKILL: out of memory?)"


def test_a_round_ends_as_it_did_even_if_that_cannot_be_written(folder: ProjectFolder, caplog: pytest.LogCaptureFixture) -> None:
    (folder.path / "last_round.json").mkdir()  # root may write into a read-only folder

    assert run_here(folder, lambda: Round("skipped", "few")) == Round("skipped", "few")

    assert caplog.messages == ["project 3: how the round ended cannot be written (Is a directory)"]
    assert status_of(folder).last_round.outcome == ""
    assert status_of(folder).problems == (f"{folder.path / 'last_round.json'} cannot be read (Is a directory); fix or remove it",)
    assert sorted(path.name for path in folder.path.iterdir() if path.name.startswith(".last")) == []


def test_the_daemon_writes_how_many_judgements_wait(folder: ProjectFolder, settings_for: SettingsFactory) -> None:
    project = CountedProject(3)
    watch = DueRounds(settings_for(min_new_pairs=10), refuse, open_project=lambda settings, project_id: project)
    counts = []
    for project.num_annotations in (0, 4, 4, 7):
        watch.look()
        counts.append(status_of(folder).num_new_judgements)

    assert counts == [0, 4, 4, 7]


def test_the_daemon_writes_the_projects_title_and_counts_whenever_they_change(
    folder: ProjectFolder, settings_for: SettingsFactory
) -> None:
    with StudioDouble() as studio:
        number = studio.add_project(title="Answers")
        ids = studio.add_tasks(number, *[{"prompt": "p", "answer1": "", "answer2": ""}] * 12)
        for task_id in ids[:3]:
            studio.annotate(task_id, [])
        settings = settings_for(label_studio_url=studio.url, label_studio_api_key=KEY)
        folder = ProjectFolder(settings.model_dir, number)
        folder.create()
        watch = DueRounds(settings, refuse)

        watch.look()
        first = read_json(folder.path / "waiting.json")
        studio.add_tasks(number, {"prompt": "p", "answer1": "", "answer2": ""})
        watch.look()

    missing = "0 of 30 pairs (MIN_PAIRS); 0 of 8 held-out comparisons, about 16 more prompts"
    assert first == {"judgements": 3, "title": "Answers", "tasks": 12, "tasks_judged": 3, "annotations": 3, "missing": missing}
    assert read_json(folder.path / "waiting.json") == {**first, "tasks": 13}


def test_counts_are_written_again_after_the_folder_was_deleted(folder: ProjectFolder, settings_for: SettingsFactory) -> None:
    watch = DueRounds(settings_for(min_new_pairs=20), refuse, open_project=lambda settings, project_id: CountedProject(3, 12))
    watch.look()
    shutil.rmtree(folder.path)
    folder.create()

    watch.look()

    assert status_of(folder).num_new_judgements == 12


def test_after_a_round_only_newer_judgements_wait(folder: ProjectFolder, settings_for: SettingsFactory) -> None:
    project = CountedProject(3, 12)
    rounds = RoundProcesses([sys.executable, "-c", f"print({write_outcome(Round('skipped', 'few'))!r})"])
    watch = DueRounds(settings_for(min_new_pairs=10), rounds, open_project=lambda settings, project_id: project)
    watch.look()
    assert status_of(folder).num_new_judgements == 12

    project.num_annotations = 15
    watch.look()

    assert status_of(folder).num_new_judgements == 3


def test_a_folder_that_fails_keeps_no_project_from_its_round(folder: ProjectFolder, settings_for: SettingsFactory) -> None:
    (folder.path / "waiting.json").mkdir()
    rounds = []

    def run(project: LabelStudioProject, folder: ProjectFolder) -> Round:
        rounds.append(folder.project_id)
        return Round("skipped", "few")

    DueRounds(settings_for(min_new_pairs=10), run, open_project=lambda settings, project_id: CountedProject(3, 12)).look()

    assert rounds == [3]


def test_the_next_round_is_written_for_all_projects(folder: ProjectFolder, settings_for: SettingsFactory) -> None:
    model_dir = settings_for().model_dir
    mark_alive(model_dir)
    assert read_trainer_status(model_dir).next_round_at is None

    write_next_round(model_dir, 1795230000.0, schedule="30m", min_new_pairs=50)

    assert read_json(model_dir / "next_round.json") == {"at": 1795230000.0, "schedule": "30m", "min_new_pairs": 50}
    status = read_trainer_status(model_dir)
    assert (status.next_round_at, status.schedule, status.num_needed) == (1795230000.0, "30m", 50)


def test_a_filler_that_was_killed_fills_no_more(folder: ProjectFolder) -> None:
    keep_filling(folder, {"is_filling": True, "tasks_left": 5, "at": time.time()})

    with FileLock(folder.model_dir / "filler.lock"):
        assert status_of(folder).is_filling
    assert not status_of(folder).is_filling

    keep_filling(folder, {"is_filling": True, "tasks_left": 5, "at": time.time() - 601})
    with FileLock(folder.model_dir / "filler.lock"):  # the next filler, which has another project's turn
        assert not status_of(folder).is_filling


@pytest.mark.parametrize(
    "content", [b"{half", b"\xff\xfe", b"[]", b"null", b'{"judgements": "5"}', b"", b'{"judgements":' * 100_000]
)
def test_what_is_damaged_is_not_known(folder: ProjectFolder, content: bytes) -> None:
    for name in ("waiting.json", "last_round.json"):
        Path(folder.path / name).write_bytes(content)

    assert status_of(folder).num_new_judgements is None
    assert status_of(folder).last_round.outcome == ""


def test_each_file_that_cannot_be_read_is_named_once(folder: ProjectFolder) -> None:
    names = ("champion", "waiting.json", "last_round.json")
    for name in names:
        (folder.path / name).mkdir()  # root may read what nobody may
    (folder.path / "versions").rmdir()
    (folder.path / "versions").touch()

    unread = [f"{folder.path / name} cannot be read (Is a directory); fix or remove it" for name in names]
    assert list(status_of(folder).problems) == unread
    assert [f"Project 3: {problem}." for problem in unread] == list(read_overview(folder.path.parent.parent).problems)
    no_folder = f"{folder.path / 'versions'} cannot be read (Not a directory); fix or remove it"
    assert list(status_of(folder).with_versions().problems) == [*unread, no_folder]


def test_a_project_that_is_no_folder_is_one_problem_and_not_one_a_file(folder: ProjectFolder) -> None:
    shutil.rmtree(folder.path)
    folder.path.touch()

    assert status_of(folder).with_versions().problems == (
        f"{folder.path / 'champion'} cannot be read (Not a directory); fix or remove it",
    )


def test_repeats_are_no_tasks_that_wait_for_people(folder: ProjectFolder) -> None:
    write_counts(folder, 3, num_tasks=20, num_judged_tasks=8)
    keep_filling(folder, {"tasks_left": 2})
    assert status_of(folder).num_open == 10
    (folder.path / "repeats.json").write_text('{"open": [31, 32, "x"]}')
    assert status_of(folder).num_open == 8
    (folder.path / "repeats.json").write_text("{half")
    assert status_of(folder).num_open == 10
