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

from preference.errors import SettingsError, TrainingError
from preference.projects.folder import ProjectFolder
from preference.projects.status import read_trainer_status
from preference.projects.trainer_heartbeat import is_alive, mark_alive
from preference.settings import Settings
from tests.conftest import REPOSITORY, SettingsFactory
from tests.support.statuses import status_of
from trainer.daemon.schedule import bring_forward, parse_schedule, run_schedule
from trainer.rounds.outcome import Round

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


def test_a_wrong_schedule_of_alignments_names_its_variable(settings_for: SettingsFactory) -> None:
    with pytest.raises(SettingsError, match=r"ALIGN_SCHEDULE='61 3 \* \* \*' is wrong"):
        run_schedule(settings_for(align_schedule="61 3 * * *"), lambda project, folder: Round("failed", "never"))


# Whether a trainer is running


def test_a_trainer_is_alive_for_15_seconds_after_its_last_sign(tmp_path: Path) -> None:
    assert not is_alive(tmp_path)

    mark_alive(tmp_path)
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
        run_schedule(settings, lambda project, folder: Round("failed", "never"))

    assert not is_alive(settings.model_dir)


@pytest.mark.timeout(120)
def test_a_trainer_keeps_others_out_and_ends_its_round_before_it_stops(settings_for: SettingsFactory) -> None:
    settings = settings_for()
    ProjectFolder(settings.model_dir, 1).request("train")
    process = start_trainer(settings)
    try:
        wait_for((settings.model_dir / "began").exists)
        assert is_alive(settings.model_dir)
        assert_refused(settings)
        wait_for(lambda: read_trainer_status(settings.model_dir).schedule == "0 3 * * *")
        assert (read_trainer_status(settings.model_dir).next_round_at or 0) > time.time()
        assert (status_of(ProjectFolder(settings.model_dir, 1)).counts.training_since or 0) <= time.time() + 0.1

        process.send_signal(signal.SIGTERM)
        threading.Event().wait(0.1)
        assert process.poll() is None
        assert_refused(settings)  # while the round lasts

        (settings.model_dir / "go").touch()
        _, errors = process.communicate(timeout=60)
        assert (process.returncode, errors) == (0, "")
        assert (settings.model_dir / "ended").exists()
        assert not is_alive(settings.model_dir), "others need not wait for that"
        assert status_of(ProjectFolder(settings.model_dir, 1)).counts.training_since is None
    finally:
        process.kill()
        process.communicate()


@pytest.mark.timeout(120)
def test_generators_learn_on_a_schedule_of_their_own(settings_for: SettingsFactory) -> None:
    settings = settings_for()
    ProjectFolder(settings.model_dir, 1).create()
    process = start_trainer(settings, ALIGN_SCHEDULE="1s", ALIGN_MIN_NEW_PAIRS="3")
    try:
        wait_for((settings.model_dir / "aligned").exists)
        wait_for(lambda: read_trainer_status(settings.model_dir).align_schedule == "1s")
        assert (read_trainer_status(settings.model_dir).next_alignment_at or 0) > time.time() - 5
        assert not (settings.model_dir / "began").exists(), "there are too few judgements for a round"
        process.send_signal(signal.SIGTERM)
        _, errors = process.communicate(timeout=60)
        assert (process.returncode, errors) == (0, "")
    finally:
        process.kill()
        process.communicate()


@pytest.mark.timeout(120)
def test_a_second_signal_ends_the_round_early(settings_for: SettingsFactory) -> None:
    settings = settings_for()
    ProjectFolder(settings.model_dir, 1).request("train")
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


STOPPED_WHILE_IT_STARTS = """
import logging, os, pathlib, signal, sys, tests.support.round_that_waits as trainer

class Stopping(logging.Handler):
    def emit(self, record):
        if record.getMessage().startswith("trainer up"):
            os.kill(os.getpid(), signal.SIGTERM)

log = logging.getLogger("pairloop.daemon")
log.setLevel(logging.INFO)
log.addHandler(Stopping())
trainer.main(pathlib.Path(sys.argv[1]))
"""


@pytest.mark.timeout(120)
def test_a_signal_before_the_schedule_runs_ends_the_trainer_as_well(settings_for: SettingsFactory) -> None:
    command = [sys.executable, "-c", STOPPED_WHILE_IT_STARTS, str(settings_for().model_dir)]
    ended = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=60, check=False)
    assert (ended.returncode, ended.stderr) == (0, "")


def start_trainer(settings: Settings, **environ: str) -> subprocess.Popen[str]:
    """A trainer in a process of its own, whose one round waits for a file called `go`."""
    variables = [f"{name}={value}" for name, value in environ.items()]
    command = [sys.executable, "-m", "tests.support.round_that_waits", str(settings.model_dir), *variables]
    return subprocess.Popen(command, cwd=REPOSITORY, stderr=subprocess.PIPE, text=True)


def assert_refused(settings: Settings) -> None:
    """A second trainer on this MODEL_DIR says why it does not start."""
    with pytest.raises(TrainingError) as caught:
        run_schedule(settings, lambda project, folder: Round("failed", "never"))

    assert str(caught.value) == (
        f"Another trainer works on MODEL_DIR={settings.model_dir}; stop it, or give this one a folder of its own."
    )


def wait_for(condition: Callable[[], bool], *, timeout_seconds: float = 120) -> None:
    """Returns as soon as the condition holds."""
    deadline = time.monotonic() + timeout_seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.05)
