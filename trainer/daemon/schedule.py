"""The trainer's clock: the schedule's rounds, and looks in between, until a signal. The only file with APScheduler."""

import logging
import re
import signal
import threading
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime

from apscheduler.events import EVENT_SCHEDULER_STARTED
from apscheduler.executors.pool import ThreadPoolExecutor
from apscheduler.jobstores.base import JobLookupError
from apscheduler.schedulers.base import BaseScheduler
from apscheduler.schedulers.blocking import BlockingScheduler
from apscheduler.triggers.base import BaseTrigger
from apscheduler.triggers.cron import CronTrigger
from apscheduler.triggers.interval import IntervalTrigger
from filelock import FileLock, Timeout

from preference.atomic_files import writing
from preference.errors import SettingsError, TrainingError
from preference.projects.status_files import write_next_round
from preference.projects.trainer_heartbeat import mark_alive, mark_stopped
from preference.settings import Settings
from trainer.daemon.due_alignments import DueAlignments
from trainer.daemon.due_rounds import DueRounds, OpenProject, RunRound, open_project

logger = logging.getLogger("pairloop.daemon")
_CLOCK_SECONDS = 2.0
_ALIGNMENTS = "alignments"
_Times = tuple[float | None, float | None]  # of the next round and of the next alignment
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}
_DAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
_NUMBERED_DAYS = re.compile(r"(?<![\w/-])([0-7])(?:-([0-7]))?(?:/(\d+))?(?![\w-])")


def parse_schedule(text: str, *, name: str = "TRAIN_SCHEDULE") -> BaseTrigger:
    """The trigger that TRAIN_SCHEDULE means, or the variable of that name, in local time.

    Raises:
        SettingsError: a field of the cron line is wrong.
    """
    if text[-1] in _UNITS and text[:-1].isdigit():
        return IntervalTrigger(**{_UNITS[text[-1]]: int(text[:-1])})
    *others, weekdays = text.split()
    try:
        return CronTrigger.from_crontab(" ".join([*others, _NUMBERED_DAYS.sub(_day_names, weekdays)]))
    except ValueError as error:
        raise SettingsError(f"{name}={text!r} is wrong: {error}") from None


def run_schedule(
    settings: Settings,
    run_round: RunRound,
    *,
    run_alignment: RunRound | None = None,
    open_project: OpenProject = open_project,
    interrupt: Callable[[], None] = lambda: None,
) -> None:
    """Runs rounds until SIGINT or SIGTERM; a running round ends first, a second signal calls `interrupt` to end it early.

    With `run_alignment` it also runs alignments: on ALIGN_SCHEDULE, and those that were asked for.

    One trainer a MODEL_DIR.

    Raises:
        TrainingError: another trainer works on this MODEL_DIR.
        RegistryError: MODEL_DIR is not writable.
    """
    trigger, align_schedule = parse_schedule(settings.training.train_schedule), settings.training.align_schedule
    align_trigger = parse_schedule(align_schedule, name="ALIGN_SCHEDULE") if align_schedule else None
    lock = FileLock(settings.model_dir / "trainer.lock")
    with writing(settings.model_dir):
        settings.model_dir.mkdir(parents=True, exist_ok=True)
        try:
            lock.acquire(timeout=0.2)  # not 0: somebody may only be asking whether a trainer works
        except Timeout:
            raise TrainingError(
                f"Another trainer works on MODEL_DIR={settings.model_dir}; stop it, or give this one a folder of its own."
            ) from None
    logging.getLogger("apscheduler").setLevel(logging.ERROR)  # it warns of each look that a running round outlasts
    due = DueRounds(settings, run_round, open_project=open_project)
    alignments = None
    if run_alignment is not None:
        alignments = DueAlignments(
            settings, run_alignment, due.problems, open_project=open_project, is_stopping=lambda: due.is_stopping
        )

    def look() -> None:
        due.look()
        if alignments is not None:
            alignments.look()

    # One thread for rounds and looks, so no two rounds overlap; whatever was missed meanwhile is not caught up.
    rounds = ThreadPoolExecutor(1)
    scheduler = BlockingScheduler(executors={"default": rounds, "heartbeat": ThreadPoolExecutor(1)})
    defaults = {"max_instances": 1, "coalesce": True, "misfire_grace_time": None}
    scheduled = scheduler.add_job(due.scheduled, trigger, **defaults)
    if alignments is not None and align_trigger is not None:
        scheduler.add_job(alignments.scheduled, align_trigger, id=_ALIGNMENTS, **defaults)
    scheduler.add_job(look, "interval", seconds=settings.training.look_every_seconds, **defaults)
    scheduler.add_job(mark_alive, "interval", args=[settings.model_dir], seconds=2, executor="heartbeat", **defaults)

    ended = threading.Event()

    def follow_clock() -> None:
        written: _Times = (None, None)
        while not ended.wait(_CLOCK_SECONDS):
            bring_forward(scheduler)
            times = [_next_time(scheduler, name) for name in (scheduled.id, _ALIGNMENTS)]
            written = _write_next_round(settings, (times[0], times[1]), written)

    def stop(*_: object) -> None:
        if due.is_stopping:
            interrupt()
            return
        due.is_stopping = True  # a look that waits behind a running round must not begin another
        if scheduler.running:
            scheduler.shutdown(wait=False)

    def started(_: object) -> None:
        if due.is_stopping and scheduler.running:  # the signal was sent before it ran, and could not stop it
            scheduler.shutdown(wait=False)

    scheduler.add_listener(started, EVENT_SCHEDULER_STARTED)
    for name in (signal.SIGINT, signal.SIGTERM):
        signal.signal(name, stop)
    mark_alive(settings.model_dir)
    logger.info(
        "trainer up: schedule %s, MIN_NEW_PAIRS=%d, looking every %g s",
        settings.training.train_schedule,
        settings.training.min_new_pairs,
        settings.training.look_every_seconds,
    )
    if align_schedule:
        logger.info(
            "generators learn on schedule %s, after ALIGN_MIN_NEW_PAIRS=%d judgements that are new",
            align_schedule,
            settings.training.align_min_new_pairs,
        )
    threading.Thread(target=follow_clock, name="clock", daemon=True).start()
    try:
        scheduler.start()
        rounds.shutdown()  # until a running round has ended, the lock keeps a next trainer out
    finally:
        ended.set()
        mark_stopped(settings.model_dir)
        lock.release()
        logger.info("trainer stopped")


def bring_forward(scheduler: BaseScheduler) -> None:
    """Lets no job wait for longer than its trigger says: one would, by as much as the machine's clock was set back."""
    now = datetime.now(scheduler.timezone)
    for job in scheduler.get_jobs() if scheduler.running else ():
        is_interval = isinstance(job.trigger, IntervalTrigger)
        latest = now + job.trigger.interval if is_interval else job.trigger.get_next_fire_time(None, now)
        if latest is not None and job.next_run_time is not None and latest < job.next_run_time:
            with suppress(JobLookupError):  # the scheduler was shut down meanwhile
                job.modify(next_run_time=latest)


def _next_time(scheduler: BaseScheduler, name: str) -> float | None:
    """When a job is due next, in seconds since the epoch; None if that is not known, or there is none."""
    job = scheduler.get_job(name) if scheduler.running else None
    return job.next_run_time.timestamp() if job is not None and job.next_run_time is not None else None


def _write_next_round(settings: Settings, times: _Times, written: _Times) -> _Times:
    """Writes when the schedules' next round and alignment are, if that is not what was written before. Returns what is written now."""
    at, align_at = times
    if at is not None and times != written:
        training = settings.training
        with suppress(OSError):
            write_next_round(
                settings.model_dir,
                at,
                schedule=training.train_schedule,
                min_new_pairs=training.min_new_pairs,
                align_at=align_at,
                align_schedule=training.align_schedule or "",
            )
            return times
    return written


def _day_names(days: re.Match[str]) -> str:
    """The weekdays of one number or range by name: cron counts from Sunday, APScheduler 3 from Monday (apscheduler#286)."""
    first, last, step = days.groups()
    numbers = range(int(first), int(last or first) + 1, int(step or 1))
    return ",".join(_DAYS[number % 7] for number in numbers) or days.group()
