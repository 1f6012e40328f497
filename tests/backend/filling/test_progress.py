from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from backend.filling.progress import Progress
from backend.monitoring.metrics import Metrics
from preference.errors import ModelError
from preference.generation.jobs import Job, WrittenAnswers
from preference.projects.folder import ProjectFolder
from tests.conftest import SettingsFactory
from tests.support.filling_house import EMPTY, House, echo
from tests.support.statuses import filling_of
from tests.support.studio_double import wait_until


class Clock:
    """Seconds that a test sets."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def folder(settings_for: SettingsFactory) -> ProjectFolder:
    folder = ProjectFolder(settings_for().model_dir, 7)
    folder.create()
    return folder


def write(
    progress: Progress, *, answered: int = 0, under_way: int = 0, dropped: Mapping[str, int] | None = None, is_last: bool = False
) -> None:
    progress.write(
        num_answered=answered, num_under_way=under_way, dropped=dropped or {}, tokens_per_second=12.34, is_last=is_last
    )


def test_progress_holds_what_is_left_what_was_done_and_how_long_it_takes(folder: ProjectFolder) -> None:
    clock, metrics = Clock(), Metrics()
    progress = Progress(folder, metrics, clock=clock)
    progress.num_unread = 70
    clock.now += 10

    write(progress, answered=20, under_way=10, dropped={"the model wrote nothing": 2})

    assert filling_of(folder) == {
        "tasks_left": 80,
        "tasks_answered": 20,
        "answers_cut": 0,
        "tasks_failed": {"the model wrote nothing": 2},
        "answers_per_second": 4.0,  # two a task
        "tokens_per_second": 12.3,
        "seconds_left": 40,
        "is_filling": True,
        "at": 1010.0,
        "pass": 1,
    }
    assert b'pairloop_tasks_unanswered{project="7"} 80.0' in metrics.text()


def test_before_the_first_answer_no_time_is_foretold(folder: ProjectFolder) -> None:
    progress = Progress(folder, Metrics(), clock=Clock())

    write(progress, under_way=10)

    assert filling_of(folder)["seconds_left"] is None
    assert filling_of(folder)["answers_per_second"] == 0


def test_it_is_written_once_a_second_and_at_the_end(folder: ProjectFolder) -> None:
    clock = Clock()
    progress = Progress(folder, Metrics(), clock=clock)
    written = []

    for answered in range(1, 26):
        write(progress, answered=answered)
        written.append(filling_of(folder)["tasks_answered"])
        clock.now += 0.1
    write(progress, answered=26, is_last=True)

    assert sorted(set(written)) == [1, 11, 21]
    assert (filling_of(folder)["tasks_answered"], filling_of(folder)["is_filling"]) == (26, False)


def test_a_pass_with_nothing_to_answer_leaves_no_trace(folder: ProjectFolder) -> None:
    metrics = Metrics()
    progress = Progress(folder, metrics, clock=Clock())

    write(progress)
    write(progress, is_last=True)

    assert filling_of(folder) == {}
    assert b"pairloop_tasks_unanswered{" not in metrics.text()


def test_that_no_task_remains_is_written_once_and_not_before_the_last_page_is_read(folder: ProjectFolder) -> None:
    for num_unread, expected in ((None, None), (0, 0)):
        progress = Progress(folder, Metrics(), clock=Clock())
        progress.num_unread = num_unread
        write(progress, is_last=True)
        assert filling_of(folder).get("tasks_left") == expected

    later = Progress(folder, Metrics())
    later.num_unread = 0
    write(later, is_last=True)

    assert filling_of(folder)["at"] == 1000.0


def test_failed_tasks_that_were_deleted_are_forgotten(folder: ProjectFolder) -> None:
    write(Progress(folder, Metrics(), clock=Clock()), dropped={"no": 1}, is_last=True)

    progress = Progress(folder, Metrics(), clock=Clock())
    progress.num_unread = 0
    write(progress, is_last=True)

    assert filling_of(folder)["tasks_failed"] == {}


def test_the_numbers_of_the_last_pass_stay_after_one_with_nothing_to_answer(folder: ProjectFolder) -> None:
    write(Progress(folder, Metrics(), clock=Clock()), answered=5, is_last=True)

    write(Progress(folder, Metrics()), is_last=True)

    assert filling_of(folder)["tasks_answered"] == 5


def test_tasks_that_were_only_dropped_are_written_too(folder: ProjectFolder) -> None:
    write(Progress(folder, Metrics(), clock=Clock()), dropped={"no": 1}, is_last=True)

    assert filling_of(folder)["tasks_failed"] == {"no": 1}


@pytest.mark.parametrize(
    ("under_way", "is_last"), [(3, False), (3, True), (0, False)], ids=["killed", "failed", "killed at the end"]
)
def test_the_next_pass_corrects_what_an_interrupted_one_wrote(folder: ProjectFolder, under_way: int, is_last: bool) -> None:
    write(Progress(folder, Metrics(), clock=Clock()), answered=9, under_way=under_way, is_last=is_last)

    progress = Progress(folder, Metrics(), clock=Clock())
    progress.num_unread = 0
    write(progress, is_last=True)  # for which all is done

    written = filling_of(folder)
    assert (written["tasks_left"], written["is_filling"]) == (0, False)


def test_a_pass_that_ends_before_it_has_read_anything_does_not_write_zero_tasks(folder: ProjectFolder) -> None:
    killed = Progress(folder, Metrics(), clock=Clock())
    killed.num_unread = 40
    write(killed, answered=9, under_way=10)

    write(Progress(folder, Metrics(), clock=Clock()), is_last=True)  # Label Studio did not answer

    written = filling_of(folder)
    assert (written["tasks_left"], written["is_filling"]) == (50, False)


# Of a pass


def test_the_progress_of_a_pass_is_written_while_it_works_and_at_its_end(house: House, tiny_base: Path) -> None:
    house.promote(tiny_base, weight=1)
    tasks = house.add_prompts(40)
    refused = house.add({"prompt": "Refused", **EMPTY}, {"prompt": "", **EMPTY})
    written: list[dict[str, Any]] = []

    def write(job: Job) -> WrittenAnswers:
        written.append(filling_of(house.folder))
        return WrittenAnswers([], refused="no: it is not nice") if job.prompt == "Refused" else echo(job)

    house.generator.write = write
    assert house.run_pass()

    during = next(progress for progress in written if progress)
    assert during["is_filling"] and 0 < during["tasks_left"] <= 42
    last = filling_of(house.folder)
    assert {key: last[key] for key in ("tasks_left", "tasks_answered", "is_filling")} == {
        "tasks_left": 0, "tasks_answered": 40, "is_filling": False,
    }  # fmt: skip
    assert last["tasks_failed"] == {"no": 1, "prompt missing, empty or not text": 1}
    assert last["answers_per_second"] > 0
    assert house.is_answered(*tasks) and not house.is_answered(refused[0])
    assert house.figure(f'tasks_unanswered{{project="{house.project_id}"}}') == 0
    assert house.figure("tasks_answered_total") == 40
    assert house.figure("tokens_written_total") == 40 * 8
    assert house.figure("jobs_waiting") == 0


def test_while_it_works_the_figures_show_unanswered_and_waiting_tasks(house: House) -> None:
    house.add_prompts(120)
    figures: list[tuple[float, float, float]] = []

    def look(prompts: list[str]) -> None:
        if "Prompt 0" in prompts:
            wait_until(lambda: bool(filling_of(house.folder)))  # ten are begun
        left = house.figure(f'tasks_unanswered{{project="{house.project_id}"}}')
        figures.append((left, house.figure("jobs_waiting"), house.figure("batch_size")))

    house.generator.meanwhile = look
    assert house.run_pass()

    assert max(left for left, _, _ in figures) == 120
    assert 2 <= max(waiting for _, waiting, _ in figures) <= 10
    assert {size for _, _, size in figures} == {0, 2}  # between batches, and an echo's two answers


def test_a_pass_that_fails_writes_how_many_tasks_remain(house: House) -> None:
    house.add_prompts(50)

    def crash(prompts: list[str]) -> None:
        raise ModelError("out of memory")

    house.generator.meanwhile = crash
    with pytest.raises(ModelError):
        house.run_pass()

    progress = filling_of(house.folder)
    assert not progress["is_filling"]
    assert progress["tasks_answered"] == 0 and 0 < progress["tasks_left"] < 50
    assert progress["seconds_left"] is None
