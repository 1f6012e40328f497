"""When rounds run: on a schedule, on a training request, and on enough new judgements. The only file with APScheduler."""

import logging
import re
import signal
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime
from typing import Any

from apscheduler.events import EVENT_SCHEDULER_STARTED
from apscheduler.executors.pool import ThreadPoolExecutor
from apscheduler.jobstores.base import JobLookupError
from apscheduler.schedulers.base import BaseScheduler
from apscheduler.schedulers.blocking import BlockingScheduler
from apscheduler.triggers.base import BaseTrigger
from apscheduler.triggers.cron import CronTrigger
from apscheduler.triggers.interval import IntervalTrigger
from filelock import FileLock, Timeout

from preference.durable import writing
from preference.errors import PairloopError, RegistryError, SettingsError, TrainingError
from preference.heartbeat import beat
from preference.registry import Registry, known_projects
from preference.settings import Settings
from preference.standing import tell_next_round, tell_waiting
from preference.studio import LabelStudioProject
from trainer.rounds import Round, new_judgements
from trainer.unfinished import MAX_ATTEMPTS, UnfinishedRound, is_running

logger = logging.getLogger(__name__)
_CLOCK_SECONDS = 2.0
# What is told of a project, and Label Studio's name for it.
_TOLD = {
    "title": "title",
    "tasks": "task_number",
    "tasks_judged": "num_tasks_with_annotations",
    "annotations": "total_annotations_number",
}
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}
_DAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
_NUMBERED_DAYS = re.compile(r"(?<![\w/-])([0-7])(?:-([0-7]))?(?:/(\d+))?(?![\w-])")
RunRound = Callable[[LabelStudioProject, Registry], Round]
OpenProject = Callable[[Settings, int], LabelStudioProject]


def open_project(settings: Settings, project_id: int) -> LabelStudioProject:
    """A project as the trainer reads it: a look that Label Studio does not answer is left to the next one."""
    return LabelStudioProject(settings, project_id, patience_seconds=20)


def parse_schedule(text: str) -> BaseTrigger:
    """The trigger that TRAIN_SCHEDULE means, in local time.

    Raises:
        SettingsError: a field of the cron line is wrong.
    """
    if text[-1] in _UNITS and text[:-1].isdigit():
        return IntervalTrigger(**{_UNITS[text[-1]]: int(text[:-1])})
    *others, weekdays = text.split()
    try:
        return CronTrigger.from_crontab(" ".join([*others, _NUMBERED_DAYS.sub(_day_names, weekdays)]))
    except ValueError as error:
        raise SettingsError(f"TRAIN_SCHEDULE={text!r} is wrong: {error}") from None


def run_schedule(
    settings: Settings,
    run_round: RunRound,
    *,
    open_project: OpenProject = open_project,
    interrupt: Callable[[], None] = lambda: None,
) -> None:
    """Runs rounds until SIGINT or SIGTERM; a running round ends first, a second signal calls `interrupt` to end it early.

    One trainer a MODEL_DIR.

    Raises:
        TrainingError: another trainer works on this MODEL_DIR.
        RegistryError: MODEL_DIR is not writable.
    """
    trigger = parse_schedule(settings.train_schedule)
    lock = FileLock(settings.model_dir / "trainer.lock")
    with writing(settings.model_dir):
        settings.model_dir.mkdir(parents=True, exist_ok=True)
        try:
            lock.acquire(timeout=0)
        except Timeout:
            raise TrainingError(
                f"Another trainer works on MODEL_DIR={settings.model_dir}; stop it, or give this one a folder of its own."
            ) from None
    logging.getLogger("apscheduler").setLevel(logging.ERROR)  # it warns of each look that a running round outlasts
    watch = Watch(settings, run_round, open_project=open_project)
    # One thread for rounds and looks, so no two rounds overlap; whatever was missed meanwhile is not caught up.
    rounds = ThreadPoolExecutor(1)
    scheduler = BlockingScheduler(executors={"default": rounds, "heartbeat": ThreadPoolExecutor(1)})
    defaults = {"max_instances": 1, "coalesce": True, "misfire_grace_time": None}
    scheduled = scheduler.add_job(watch.scheduled, trigger, **defaults)
    scheduler.add_job(watch.look, "interval", seconds=settings.look_every_seconds, **defaults)
    scheduler.add_job(beat, "interval", args=[settings.model_dir], seconds=2, executor="heartbeat", **defaults)

    ended = threading.Event()

    def follow_clock() -> None:
        told: float | None = None
        while not ended.wait(_CLOCK_SECONDS):
            bring_forward(scheduler)
            told = _tell_next_round(settings, scheduler.get_job(scheduled.id) if scheduler.running else None, told)

    def stop(*_: object) -> None:
        if watch.is_stopping:
            interrupt()
            return
        watch.is_stopping = True  # a look that waits behind a running round must not begin another
        if scheduler.running:
            scheduler.shutdown(wait=False)

    def started(_: object) -> None:
        if watch.is_stopping and scheduler.running:  # the signal came before it ran, and could not stop it
            scheduler.shutdown(wait=False)

    scheduler.add_listener(started, EVENT_SCHEDULER_STARTED)
    for name in (signal.SIGINT, signal.SIGTERM):
        signal.signal(name, stop)
    beat(settings.model_dir)
    logger.info(
        "trainer up: schedule %s, MIN_NEW_PAIRS=%d, looking every %g s",
        settings.train_schedule,
        settings.min_new_pairs,
        settings.look_every_seconds,
    )
    threading.Thread(target=follow_clock, name="clock", daemon=True).start()
    try:
        scheduler.start()
        rounds.shutdown()  # until a running round has ended, the lock keeps a next trainer out
    finally:
        ended.set()
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


def _tell_next_round(settings: Settings, job: Any, told: float | None) -> float | None:
    """When the schedule's next round is, after that was told where it is not what was told before."""
    at: float | None = job.next_run_time.timestamp() if job is not None and job.next_run_time is not None else None
    if at is not None and at != told:
        with suppress(OSError):
            tell_next_round(settings.model_dir, at, schedule=settings.train_schedule, min_new_pairs=settings.min_new_pairs)
            return at
    return told


def _day_names(days: re.Match[str]) -> str:
    """The weekdays of one number or range by name: cron counts from Sunday, APScheduler 3 from Monday (apscheduler#286)."""
    first, last, step = days.groups()
    numbers = range(int(first), int(last or first) + 1, int(step or 1))
    return ",".join(_DAYS[number % 7] for number in numbers) or days.group()


class Watch:
    """Decides which projects get a round now."""

    def __init__(self, settings: Settings, run_round: RunRound, *, open_project: OpenProject = open_project) -> None:
        self._settings, self._run_round, self._open_project = settings, run_round, open_project
        self.is_stopping = False
        self._counted: dict[int, tuple[int, int]] = {}  # project id -> its number of versions, and annotations counted so far
        self._complaints: dict[int, str] = {}
        self._told: dict[int, Any] = {}  # project id -> how it stands, as it was told last

    def scheduled(self) -> None:
        """A round for each project with a judgement that is newer than its latest version."""
        self._each(lambda registry: 1)

    def look(self) -> None:
        """A round for each project that asked for one, whose last one was killed, or that has MIN_NEW_PAIRS new judgements."""
        self._each(self._num_needed)

    def _num_needed(self, registry: Registry) -> int:
        """How many new judgements it takes to begin a round now."""
        if registry.is_requested("train"):
            UnfinishedRound(registry).announce()  # what is killed from here on is taken up
            registry.take_request("train")
            return 0
        return 0 if _is_to_be_taken_up(registry) else self._settings.min_new_pairs

    def _each(self, num_needed: Callable[[Registry], int]) -> None:
        for registry in known_projects(self._settings.model_dir):
            if self.is_stopping:
                return
            needed: int | None = None
            try:
                needed = num_needed(registry)
                self._consider(registry, needed)
                self._complaints.pop(registry.project_id, None)
            except (PairloopError, OSError) as error:  # said once, not at every look
                if needed == 0:
                    with suppress(RegistryError):
                        registry.request("train")  # it was asked for, so it stays asked for
                if self._complaints.get(registry.project_id) != str(error):
                    logger.warning("project %d: %s", registry.project_id, error)
                    self._complaints[registry.project_id] = str(error)

    def _consider(self, registry: Registry, num_needed: int) -> None:
        project = self._open_project(self._settings, registry.project_id)
        state = project.read()
        num_annotations = int(state.get("total_annotations_number") or 0)
        num_new = num_annotations - self._num_counted(registry, num_annotations)
        known = {name: state[field] for name, field in _TOLD.items() if state.get(field) is not None}
        self._tell_waiting(registry, num_new, known)
        if num_new < num_needed:
            return
        cause = f"{num_new} new judgements" if num_needed else "a training request"
        unfinished = UnfinishedRound(registry)
        if unfinished.exists and unfinished.num_attempts:
            cause = "the one before was killed"
        logger.info("project %d: round begins (%s)", registry.project_id, cause)
        self._tell_waiting(registry, num_new, {**known, "training_since": round(time.time(), 1)})
        try:
            unfinished.announce()
            ended = self._run_round(project, registry)
        finally:
            self._tell_waiting(registry, num_new, known)
        if unfinished.exists and not unfinished.num_attempts:  # its process could not even begin, and said so
            unfinished.remove()
        if ended.outcome in ("skipped", "failed"):  # it would end the same with the next judgement
            self._counted[registry.project_id] = (len(registry.versions()), num_annotations)

    def _tell_waiting(self, registry: Registry, num_judgements: int, known: dict[str, Any]) -> None:
        if self._told.get(registry.project_id) == (num_judgements, known):
            return
        with suppress(OSError):  # told at the next look; the round matters more
            tell_waiting(registry, num_judgements, project=known)
            self._told[registry.project_id] = (num_judgements, known)

    def _num_counted(self, registry: Registry, num_annotations: int) -> int:
        """How many of a project's annotations are not new; deleted ones must not hide those that come after."""
        num_versions = len(registry.versions())
        known_versions, counted = self._counted.get(registry.project_id, (-1, 0))
        if known_versions != num_versions:
            counted = num_annotations - new_judgements(registry, num_annotations)
        self._counted[registry.project_id] = (num_versions, min(counted, num_annotations))
        return min(counted, num_annotations)


def _is_to_be_taken_up(registry: Registry) -> bool:
    """Whether a round was killed before it ended and may be tried again; one that may not is swept."""
    unfinished = UnfinishedRound(registry)
    if not unfinished.exists or is_running(registry):
        return False
    if unfinished.num_attempts < MAX_ATTEMPTS:
        return True
    unfinished.give_up()
    return False
