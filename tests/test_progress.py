from collections.abc import Mapping

import pytest

from backend.metrics import Metrics
from backend.progress import Progress
from preference.registry import Registry
from tests.conftest import SettingsFactory


class Clock:
    """Seconds that a test sets."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def registry(settings_for: SettingsFactory) -> Registry:
    registry = Registry(settings_for().model_dir, 7)
    registry.create()
    return registry


def tell(
    progress: Progress, *, answered: int = 0, under_way: int = 0, dropped: Mapping[str, int] | None = None, is_last: bool = False
) -> None:
    progress.tell(num_answered=answered, num_under_way=under_way, dropped=dropped or {}, tokens_per_second=12.34, is_last=is_last)


def test_progress_holds_what_is_left_what_was_done_and_how_long_it_takes(registry: Registry) -> None:
    clock, metrics = Clock(), Metrics()
    progress = Progress(registry, metrics, clock=clock)
    progress.num_unread = 70
    clock.now += 10

    tell(progress, answered=20, under_way=10, dropped={"the model wrote nothing": 2})

    assert registry.read_progress() == {
        "tasks_left": 80,
        "tasks_answered": 20,
        "tasks_failed": {"the model wrote nothing": 2},
        "answers_per_second": 4.0,  # two a task
        "tokens_per_second": 12.3,
        "seconds_left": 40,
        "is_filling": True,
        "at": 1010.0,
    }
    assert b'pairloop_tasks_unanswered{project="7"} 80.0' in metrics.text()


def test_before_the_first_answer_nothing_is_foretold(registry: Registry) -> None:
    progress = Progress(registry, Metrics(), clock=Clock())

    tell(progress, under_way=10)

    assert registry.read_progress()["seconds_left"] is None
    assert registry.read_progress()["answers_per_second"] == 0


def test_it_is_told_once_a_second_and_at_last(registry: Registry) -> None:
    clock = Clock()
    progress = Progress(registry, Metrics(), clock=clock)
    told = []

    for answered in range(1, 26):
        tell(progress, answered=answered)
        told.append(registry.read_progress()["tasks_answered"])
        clock.now += 0.1
    tell(progress, answered=26, is_last=True)

    assert sorted(set(told)) == [1, 11, 21]
    assert (registry.read_progress()["tasks_answered"], registry.read_progress()["is_filling"]) == (26, False)


def test_a_visit_that_found_nothing_leaves_no_trace(registry: Registry) -> None:
    metrics = Metrics()
    progress = Progress(registry, metrics, clock=Clock())

    tell(progress)
    tell(progress, is_last=True)

    assert registry.read_progress() == {}
    assert b"pairloop_tasks_unanswered{" not in metrics.text()


def test_that_nothing_is_left_is_told_once_and_no_sooner_than_the_last_page_is_read(registry: Registry) -> None:
    for is_all_read, expected in ((False, None), (True, 0)):
        progress = Progress(registry, Metrics(), clock=Clock())
        progress.is_all_read = is_all_read
        tell(progress, is_last=True)
        assert registry.read_progress().get("tasks_left") == expected

    later = Progress(registry, Metrics())
    later.is_all_read = True
    tell(later, is_last=True)

    assert registry.read_progress()["at"] == 1000.0


def test_tasks_that_failed_and_are_gone_are_forgotten(registry: Registry) -> None:
    tell(Progress(registry, Metrics(), clock=Clock()), dropped={"no": 1}, is_last=True)

    progress = Progress(registry, Metrics(), clock=Clock())
    progress.is_all_read = True
    tell(progress, is_last=True)

    assert registry.read_progress()["tasks_failed"] == {}


def test_what_the_last_visit_did_stays_to_be_read_after_one_that_found_nothing(registry: Registry) -> None:
    tell(Progress(registry, Metrics(), clock=Clock()), answered=5, is_last=True)

    tell(Progress(registry, Metrics()), is_last=True)

    assert registry.read_progress()["tasks_answered"] == 5


def test_tasks_that_were_only_dropped_are_told_too(registry: Registry) -> None:
    tell(Progress(registry, Metrics(), clock=Clock()), dropped={"no": 1}, is_last=True)

    assert registry.read_progress()["tasks_failed"] == {"no": 1}


@pytest.mark.parametrize(
    ("under_way", "is_last"), [(3, False), (3, True), (0, False)], ids=["killed", "failed", "killed at the end"]
)
def test_what_a_visit_that_was_cut_short_left_behind_is_put_right_by_the_next(
    registry: Registry, under_way: int, is_last: bool
) -> None:
    tell(Progress(registry, Metrics(), clock=Clock()), answered=9, under_way=under_way, is_last=is_last)

    tell(Progress(registry, Metrics(), clock=Clock()), is_last=True)  # which finds that all is done

    progress = registry.read_progress()
    assert (progress["tasks_left"], progress["is_filling"]) == (0, False)
