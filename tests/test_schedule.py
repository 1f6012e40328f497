import dataclasses
import logging
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from apscheduler.job import Job
from apscheduler.schedulers.background import BackgroundScheduler
from apscheduler.triggers.interval import IntervalTrigger

from preference.errors import PairloopError, SettingsError, StudioKeyError, StudioUnreachable, TrainingError
from preference.heartbeat import beat, is_alive
from preference.registry import ModelCard, Registry
from preference.settings import Settings
from preference.standing import read_next_round, read_project
from preference.studio import LabelStudioProject
from tests.conftest import REPOSITORY, SettingsFactory
from tests.round_that_waits import CountedProject
from trainer.rounds import Round
from trainer.schedule import Watch, bring_forward, parse_schedule, run_schedule
from trainer.unfinished import MAX_ATTEMPTS, Snapshot, UnfinishedRound, only_round

CARD = ModelCard(
    project_id=1, recipe="frozen", base="embedded", num_annotations=0, num_train_pairs=1, num_holdout_pairs=0, dropped={},
    metrics={}, promoted=False, reason="", probe={}, seed=0, seconds={},
)  # fmt: skip


class Lab:
    """A watch over projects 1 and 2, and what it did."""

    def __init__(self, settings: Settings) -> None:
        self.registries = {i: Registry(settings.model_dir, i) for i in (1, 2)}
        self.projects = {i: CountedProject(i) for i in self.registries}
        self.rounds: list[int] = []
        self.ends: Callable[[Registry], Round] = lambda registry: Round("promoted", "better")
        self.watch = Watch(settings, self._run_round, open_project=lambda settings, project_id: self.projects[project_id])
        self.registries[1].create()

    def _run_round(self, project: LabelStudioProject, registry: Registry) -> Round:
        assert project is self.projects[registry.project_id]
        self.rounds.append(registry.project_id)
        return self.ends(registry)

    def publish(self, registry: Registry) -> str:
        """A version that was trained on the project's judgements of now."""
        folder = registry.folder / "trained"
        folder.mkdir(exist_ok=True)
        return registry.publish(
            folder, dataclasses.replace(CARD, num_annotations=self.projects[registry.project_id].num_annotations)
        )


@pytest.fixture
def lab(settings_for: SettingsFactory) -> Lab:
    return Lab(settings_for(min_new_pairs=10))


# TRAIN_SCHEDULE


@pytest.mark.parametrize(
    ("text", "length"),
    [("45s", {"seconds": 45}), ("30m", {"minutes": 30}), ("6h", {"hours": 6}), ("2d", {"days": 2})],
)
def test_an_interval_is_read(text: str, length: dict[str, int]) -> None:
    trigger = parse_schedule(text)

    assert isinstance(trigger, IntervalTrigger)
    assert trigger.interval == timedelta(**length)


def fire_times(text: str) -> Iterator[datetime]:
    """When a schedule fires from Sunday, 1 June 2025 on."""
    trigger, now = parse_schedule(text), datetime(2025, 6, 1, tzinfo=UTC).replace(tzinfo=None).astimezone()
    previous = None
    while True:
        previous = trigger.get_next_fire_time(previous, now)
        assert previous is not None
        yield previous
        now = previous + timedelta(seconds=1)


def test_a_cron_line_is_read_in_local_time() -> None:
    times = fire_times("30 3 * * *")

    assert [next(times).replace(tzinfo=None) for _ in range(2)] == [datetime(2025, 6, 1, 3, 30), datetime(2025, 6, 2, 3, 30)]


@pytest.mark.parametrize(
    ("field", "days"),
    [
        ("0", "Sun Sun"),
        ("7", "Sun Sun"),
        ("1", "Mon Mon"),
        ("sat", "Sat Sat"),
        ("1-5", "Mon Tue Wed Thu Fri Mon"),
        ("mon-fri", "Mon Tue Wed Thu Fri Mon"),
        ("0-1", "Sun Mon Sun"),
        ("5-7", "Sun Fri Sat Sun"),
        ("1,3", "Mon Wed Mon"),
        ("1-5/2", "Mon Wed Fri Mon"),
        ("0-6", "Sun Mon Tue Wed Thu Fri Sat Sun"),
    ],
)
def test_weekdays_count_as_in_cron(field: str, days: str) -> None:
    times = fire_times(f"0 3 * * {field}")

    assert [next(times).strftime("%a") for _ in days.split()] == days.split()


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("61 3 * * *", "the last value (61) is higher than the maximum value (59)"),
        ("0 3 * * 8", "the last value (8) is higher than the maximum value (6)"),
        ("0 3 * * 5-1", "The minimum value in a range must not be higher than the maximum"),
        ("0 3 * * noday", 'Invalid weekday name "noday"'),
        ("0 3 * *", "Wrong number of fields; got 4, expected 5"),
    ],
)
def test_a_wrong_cron_line_is_refused_with_its_reason(text: str, reason: str) -> None:
    with pytest.raises(SettingsError) as caught:
        parse_schedule(text)

    assert str(caught.value).startswith(f"TRAIN_SCHEDULE='{text}' is wrong: ")
    assert reason in str(caught.value)


# Which projects get a round


def test_a_training_request_starts_one_round(lab: Lab) -> None:
    lab.registries[1].request("train")

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
    lab.publish(lab.registries[1])

    for lab.projects[1].num_annotations, expected in ((109, []), (110, [1])):
        lab.watch.look()
        assert lab.rounds == expected


def test_a_rejected_challenger_is_not_retrained_at_the_next_look(lab: Lab) -> None:
    lab.ends = lambda registry: Round("rejected", "worse", lab.publish(registry))
    lab.projects[1].num_annotations = 10

    lab.watch.look()
    lab.watch.look()
    lab.watch.scheduled()
    assert lab.rounds == [1]

    lab.projects[1].num_annotations = 20
    lab.watch.look()
    assert lab.rounds == [1, 1]


@pytest.mark.parametrize("outcome", ["skipped", "failed"])
def test_a_round_that_came_to_nothing_is_not_repeated_until_a_judgement_comes(lab: Lab, outcome: Any) -> None:
    lab.ends = lambda registry: Round(outcome, "too few pairs")
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


def test_a_request_runs_even_after_a_round_that_came_to_nothing(lab: Lab) -> None:
    lab.ends = lambda registry: Round("skipped", "too few pairs")
    for _ in range(2):
        lab.registries[1].request("train")
        lab.watch.look()

    assert lab.rounds == [1, 1]


def test_deleted_judgements_do_not_hide_those_that_come_after(lab: Lab) -> None:
    lab.projects[1].num_annotations = 100
    lab.publish(lab.registries[1])
    lab.watch.look()

    for lab.projects[1].num_annotations in (50, 59):
        lab.watch.look()
        assert lab.rounds == []
    lab.projects[1].num_annotations = 60
    lab.watch.look()
    assert lab.rounds == [1]


def test_a_look_that_waited_behind_a_round_begins_none_when_the_trainer_stops(lab: Lab) -> None:
    lab.registries[1].request("train")
    lab.watch.is_stopping = True

    lab.watch.look()

    assert lab.rounds == []
    assert lab.registries[1].take_request("train")


def test_the_schedule_needs_one_new_judgement(lab: Lab) -> None:
    lab.watch.scheduled()
    assert lab.rounds == []

    lab.projects[1].num_annotations = 1
    lab.watch.scheduled()
    assert lab.rounds == [1]


def test_the_schedule_leaves_a_request_to_the_next_look(lab: Lab) -> None:
    lab.registries[1].request("train")

    lab.watch.scheduled()

    assert lab.rounds == []
    assert lab.registries[1].take_request("train")


UNREACHABLE = StudioUnreachable("Label Studio at http://localhost:8080 does not answer; start it.")


def test_a_request_outlives_an_unreachable_label_studio_during_the_round(lab: Lab) -> None:
    def no_answer(registry: Registry) -> Round:
        raise UNREACHABLE

    lab.registries[1].request("train")
    lab.ends = no_answer
    lab.watch.look()
    lab.ends = lambda registry: Round("promoted", "better")
    lab.watch.look()
    lab.watch.look()

    assert lab.rounds == [1, 1]


@pytest.mark.parametrize(
    "error", [UNREACHABLE, StudioKeyError("Label Studio refuses LABEL_STUDIO_API_KEY.")], ids=["down", "key"]
)
def test_a_request_outlives_a_label_studio_that_cannot_be_read_before_the_round(lab: Lab, error: PairloopError) -> None:
    lab.registries[1].request("train")
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

    assert not lab.registries[1].take_request("train")


def test_an_unreachable_label_studio_is_said_once_until_it_answers_again(lab: Lab, caplog: pytest.LogCaptureFixture) -> None:
    for error in (UNREACHABLE, UNREACHABLE, None, UNREACHABLE):
        lab.projects[1].error = error
        lab.watch.look()

    assert caplog.messages == [f"project 1: {UNREACHABLE}"] * 2


def test_a_project_that_cannot_be_read_does_not_hold_up_the_next(lab: Lab) -> None:
    lab.registries[2].create()
    lab.projects[1].error = UNREACHABLE
    lab.projects[2].num_annotations = 10

    lab.watch.look()

    assert lab.rounds == [2]


def test_a_round_says_why_it_begins(lab: Lab, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, logger="trainer.schedule")
    lab.projects[1].num_annotations = 10
    lab.watch.look()
    lab.registries[1].request("train")
    lab.watch.look()

    assert caplog.messages == [
        "project 1: round begins (10 new judgements)",
        "project 1: round begins (a training request)",
    ]


# A round that was killed


def test_a_round_that_was_killed_is_taken_up_at_the_next_look(lab: Lab, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, logger="trainer.schedule")
    UnfinishedRound(lab.registries[1]).begin()

    lab.watch.look()

    assert lab.rounds == [1]
    assert caplog.messages == ["project 1: round begins (the one before was killed)"]


class Killed(BaseException):
    """SIGKILL, as far as what lies on the disk goes: nothing is caught."""


@pytest.mark.parametrize("is_asked_for", [True, False], ids=["asked for", "scheduled"])
def test_a_round_whose_processes_are_killed_before_it_begins_is_taken_up(lab: Lab, is_asked_for: bool) -> None:
    def killed(registry: Registry) -> Round:
        raise Killed

    lab.ends = killed
    with pytest.raises(Killed):
        if is_asked_for:
            lab.registries[1].request("train")
            lab.watch.look()
        else:
            lab.projects[1].num_annotations = 1
            lab.watch.scheduled()
    lab.ends = lambda registry: Round("promoted", "better")
    lab.watch.look()
    lab.watch.look()

    assert lab.rounds == [1, 1]
    assert not UnfinishedRound(lab.registries[1]).exists


def test_a_round_whose_process_cannot_even_begin_is_not_tried_for_ever(lab: Lab) -> None:
    lab.registries[1].request("train")
    lab.ends = lambda registry: Round("failed", "the round's process ended with status 1")
    for _ in range(3):
        lab.watch.look()

    assert lab.rounds == [1]


def test_a_round_that_is_killed_while_the_trainer_watches_is_tried_three_times_in_all(
    lab: Lab, caplog: pytest.LogCaptureFixture
) -> None:
    def killed(registry: Registry) -> Round:
        UnfinishedRound(registry).begin()
        return Round("failed", "the round's process was killed (signal 9, SIGKILL: out of memory?)")

    lab.registries[1].request("train")
    lab.ends = killed
    for _ in range(MAX_ATTEMPTS + 2):
        lab.watch.look()
        lab.watch.scheduled()

    assert lab.rounds == [1] * MAX_ATTEMPTS
    assert not UnfinishedRound(lab.registries[1]).exists
    assert [message for message in caplog.messages if "is given up" in message] == caplog.messages


def test_after_a_round_was_given_up_new_judgements_begin_another(lab: Lab) -> None:
    for _ in range(MAX_ATTEMPTS):
        UnfinishedRound(lab.registries[1]).begin()
    lab.watch.look()
    assert lab.rounds == []

    lab.projects[1].num_annotations = 10
    lab.watch.look()
    assert lab.rounds == [1]


def test_a_round_that_another_process_runs_is_not_taken_up(lab: Lab) -> None:
    UnfinishedRound(lab.registries[1]).begin()

    with only_round(lab.registries[1]):
        lab.watch.look()
    assert lab.rounds == []

    lab.watch.look()
    assert lab.rounds == [1]


def test_a_request_outlives_a_round_that_another_process_runs(lab: Lab, caplog: pytest.LogCaptureFixture) -> None:
    def is_taken(registry: Registry) -> Round:
        raise TrainingError("Another process is in the middle of a round of project 1; this one leaves it to that.")

    lab.registries[1].request("train")
    lab.ends = is_taken
    lab.watch.look()
    lab.watch.look()
    lab.ends = lambda registry: Round("promoted", "better")
    lab.watch.look()
    lab.watch.look()

    assert lab.rounds == [1, 1, 1]
    assert len(caplog.messages) == 1, "said once"


def test_a_label_studio_that_is_away_costs_a_killed_round_no_attempt(lab: Lab) -> None:
    unfinished = UnfinishedRound(lab.registries[1])
    unfinished.begin()
    unfinished.keep(Snapshot([], {}, {}))
    lab.projects[1].error = UNREACHABLE

    lab.watch.look()

    assert (lab.rounds, unfinished.num_attempts) == ([], 1)


# Whether a trainer is running


def test_a_trainer_is_alive_for_15_seconds_after_its_last_sign(tmp_path: Path) -> None:
    assert not is_alive(tmp_path)

    beat(tmp_path)
    at = (tmp_path / "trainer.alive").stat().st_mtime

    assert is_alive(tmp_path)
    assert is_alive(tmp_path, now=at + 14.9)
    assert not is_alive(tmp_path, now=at + 15.1)


def test_a_folder_that_is_not_there_has_no_trainer(tmp_path: Path) -> None:
    assert not is_alive(tmp_path / "nowhere")


@pytest.mark.parametrize("schedule", ["0 3 * * *", "30m"])
def test_a_clock_that_is_set_back_delays_no_job(schedule: str) -> None:
    scheduler = BackgroundScheduler()
    scheduler.add_job(print, parse_schedule(schedule), id="scheduled")
    scheduler.add_job(print, "interval", seconds=5, id="look")
    scheduler.start(paused=True)
    due = {job.id: job.next_run_time for job in scheduler.get_jobs()}

    bring_forward(scheduler)
    assert {job.id: job.next_run_time for job in scheduler.get_jobs()} == due, "nothing moves while the clock is right"
    for job in scheduler.get_jobs():  # as they stand when the clock was two days ahead until now
        job.modify(next_run_time=due[job.id] + timedelta(days=2))
    bring_forward(scheduler)

    now = datetime.now(UTC)
    late = {job.id: job.next_run_time - due[job.id] for job in scheduler.get_jobs()}
    scheduler.shutdown()
    assert all(timedelta(0) <= seconds < timedelta(seconds=60) for seconds in late.values()), (now, late)


def test_a_scheduler_that_ends_while_the_clock_is_followed_is_no_error() -> None:
    class Ending(BackgroundScheduler):  # type: ignore[misc]
        def get_jobs(self, *args: Any, **kwargs: Any) -> list[Job]:
            jobs: list[Job] = super().get_jobs(*args, **kwargs)
            self.shutdown()
            return jobs

    scheduler = Ending()
    late = datetime.now(UTC) + timedelta(days=2)
    for _ in range(2):
        scheduler.add_job(print, "interval", seconds=5, next_run_time=late)
    scheduler.start(paused=True)

    bring_forward(scheduler)

    assert not scheduler.running


def test_a_wrong_schedule_stops_the_start(settings_for: SettingsFactory) -> None:
    settings = settings_for(train_schedule="61 3 * * *")

    with pytest.raises(SettingsError, match="TRAIN_SCHEDULE='61 3"):
        run_schedule(settings, lambda project, registry: Round("failed", "never"))

    assert not is_alive(settings.model_dir)


@pytest.mark.timeout(120)
def test_a_trainer_keeps_others_out_and_ends_its_round_before_it_stops(settings_for: SettingsFactory) -> None:
    settings = settings_for()
    Registry(settings.model_dir, 1).request("train")
    process = start_trainer(settings)
    try:
        wait_for((settings.model_dir / "began").exists)
        assert is_alive(settings.model_dir)
        assert_refused(settings)
        wait_for(lambda: read_next_round(settings.model_dir).get("schedule") == "0 3 * * *")
        assert read_next_round(settings.model_dir)["at"] > time.time()
        assert read_project(Registry(settings.model_dir, 1))["training_since"] <= time.time() + 0.1

        process.send_signal(signal.SIGTERM)
        threading.Event().wait(0.1)
        assert process.poll() is None
        assert_refused(settings)  # while the round lasts

        (settings.model_dir / "go").touch()
        _, errors = process.communicate(timeout=60)
        assert (process.returncode, errors) == (0, "")
        assert (settings.model_dir / "ended").exists()
        assert "training_since" not in read_project(Registry(settings.model_dir, 1))
    finally:
        process.kill()
        process.communicate()


@pytest.mark.timeout(120)
def test_a_second_signal_ends_the_round_early(settings_for: SettingsFactory) -> None:
    settings = settings_for()
    Registry(settings.model_dir, 1).request("train")
    process = start_trainer(settings)
    try:
        wait_for((settings.model_dir / "began").exists)
        process.send_signal(signal.SIGINT)
        threading.Event().wait(0.1)
        assert process.poll() is None

        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=60)
        assert (process.returncode, errors) == (0, "")
    finally:
        process.kill()
        process.communicate()


STOPPED_AS_IT_COMES_UP = """
import logging, os, pathlib, signal, sys, tests.round_that_waits as trainer

class Stopping(logging.Handler):
    def emit(self, record):
        if record.getMessage().startswith("trainer up"):
            os.kill(os.getpid(), signal.SIGTERM)

log = logging.getLogger("trainer.schedule")
log.setLevel(logging.INFO)
log.addHandler(Stopping())
trainer.main(pathlib.Path(sys.argv[1]))
"""


@pytest.mark.timeout(120)
def test_a_signal_that_comes_before_the_schedule_runs_ends_the_trainer_as_well(settings_for: SettingsFactory) -> None:
    command = [sys.executable, "-c", STOPPED_AS_IT_COMES_UP, str(settings_for().model_dir)]
    ended = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=60, check=False)
    assert (ended.returncode, ended.stderr) == (0, "")


def start_trainer(settings: Settings) -> subprocess.Popen[str]:
    """A trainer in a process of its own, whose one round waits for a file called `go`."""
    command = [sys.executable, "-m", "tests.round_that_waits", str(settings.model_dir)]
    return subprocess.Popen(command, cwd=REPOSITORY, stderr=subprocess.PIPE, text=True)


def assert_refused(settings: Settings) -> None:
    """A second trainer on this MODEL_DIR says why it does not start."""
    with pytest.raises(TrainingError) as caught:
        run_schedule(settings, lambda project, registry: Round("failed", "never"))

    assert str(caught.value) == (
        f"Another trainer works on MODEL_DIR={settings.model_dir}; stop it, or give this one a folder of its own."
    )


def wait_for(condition: Callable[[], bool], *, timeout_seconds: float = 120) -> None:
    """Returns as soon as the condition holds."""
    deadline = time.monotonic() + timeout_seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.05)
