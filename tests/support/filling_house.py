"""A project of the double, and what fills it: for the tests of streams, passes and fillers."""

import logging
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Self

import pytest
import torch
from filelock import FileLock

from backend.filling.answer_stream import AnswerStream
from backend.filling.filler import Filler
from backend.filling.project_pass import ProjectPass, open_pass
from backend.filling.shown_version import ShownVersion
from backend.filling.workbench import Workbench
from backend.generators.echo import EchoGenerator
from backend.generators.scheduler import Scheduler
from backend.monitoring.metrics import Metrics
from backend.scoring.champion import Champion, Champions
from preference.generation.jobs import Job, Jobs, WrittenAnswers, write_all
from preference.labelling.label_config import LabelingLayout
from preference.labelling.prompts import transcript
from preference.projects.folder import ProjectFolder
from preference.projects.problems import ProjectProblems
from preference.projects.status import read_overview
from preference.projects.versions import Versions
from preference.settings import Settings
from preference.studio.project import LabelStudioProject
from preference.studio.task import META_KEY, Task
from tests.support.studio_double import StudioDouble
from tests.support.studio_records import LABEL_CONFIG, Fields
from tests.support.versions import publish_version

EMPTY = {"answer1": "", "answer2": ""}
CHOICE = [{"from_name": "comparison", "to_name": "answer1", "type": "pairwise", "value": {"selected": "left"}}]
LAYOUT = LabelingLayout.from_label_config(LABEL_CONFIG)
ANSWERED = {"prompt": "p", "answer1": "short", "answer2": "a much longer answer"}
RENAMED = LABEL_CONFIG.replace("$answer1", "$left").replace("$answer2", "$right").replace("$prompt", "$question")


def echo(job: Job) -> WrittenAnswers:
    """What the echo engine writes."""
    return write_all(EchoGenerator(), [job.prompt], seeds=[job.seed], num_answers=job.num_answers)[0]


class RecordingGenerator:
    """A generator that keeps what it was asked, and lets something happen while it writes some jobs together."""

    def __init__(
        self, meanwhile: Callable[[list[str]], object] = lambda prompts: None, *, write: Callable[[Job], WrittenAnswers] = echo
    ) -> None:
        """`meanwhile` gets the prompts that are being written together."""
        self.name, self.capacity = "echo", 4
        self.sampling: dict[str, Any] = {}
        self.jobs: list[Job] = []
        self.meanwhile, self.write = meanwhile, write

    @property
    def prompts(self) -> list[str]:
        """What was asked, in order."""
        return [transcript(job.prompt) for job in self.jobs]

    def run(self, jobs: Jobs) -> None:
        """Writes all jobs, `capacity` at a time."""
        while not jobs.is_stopped and (taken := jobs.take(self.capacity)):
            self.jobs += taken
            self.meanwhile([transcript(job.prompt) for job in taken])
            for job in taken:
                writing = self.write(job)
                jobs.report(num_tokens=4 * len(writing.answers), batch_size=len(writing.answers))
                job.finish(writing)


class House:
    """One project, and the parts of processes that fill it; `generator` is what those write with that are made next."""

    def __init__(self, studio: StudioDouble, settings: Settings, *, project_id: int | None = None) -> None:
        self.studio, self.settings = studio, settings
        self.project_id = studio.add_project() if project_id is None else project_id
        self.folder = ProjectFolder(settings.model_dir, self.project_id)
        self.folder.create()
        self.champions = Champions(settings.model_dir, device=torch.device("cpu"))
        self.metrics = Metrics()
        self.problems = problems_of(settings)
        self.generator = RecordingGenerator()
        self.rival: Scheduler | None = None  # of DUEL_WITH
        self._running: list[tuple[Scheduler, threading.Thread]] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop_writing()

    def stop_writing(self) -> None:
        """As if the process ended."""
        for scheduler, thread in self._running:
            scheduler.stop()
            thread.join()

    # What is tested

    def scheduler(self, *, is_loaded: bool = True) -> Scheduler:
        """One that runs until the test ends. If the generator is loaded, its capacity is known from the first task on."""
        generator = self.generator
        scheduler = Scheduler(lambda: generator, self.metrics)
        if is_loaded:
            scheduler.generator()
        thread = threading.Thread(target=scheduler.run, daemon=True)
        thread.start()
        self._running.append((scheduler, thread))
        return scheduler

    def noted(self) -> tuple[str, ...]:
        """The problems that every process reads while a filler works."""
        with FileLock(self.settings.model_dir / "filler.lock"):
            return read_overview(self.settings.model_dir).problems

    def project(self, **options: Any) -> LabelStudioProject:
        return LabelStudioProject(self.settings.studio, self.project_id, **options)

    def bench(self, scheduler: Scheduler | None = None, *, champions: Champions | None = None) -> Workbench:
        parts = (self.settings, champions or self.champions, scheduler or self.scheduler(), self.metrics, self.problems)
        return Workbench(*parts, rival=self.rival)

    def stream(
        self, scheduler: Scheduler | None = None, *, project: LabelStudioProject | None = None, **options: Any
    ) -> AnswerStream:
        return AnswerStream(project or self.project(), LAYOUT, self.bench(scheduler), **options)

    def unanswered(self) -> Iterator[Task]:
        """The open tasks, read page after page."""
        return (task for page, _ in self.project().unanswered_tasks(LAYOUT) for task in page)

    def answer(self, stream: AnswerStream | None = None, **options: Any) -> list[int]:
        """The ids of the tasks that a stream over all open tasks stored, in the order in which it passed them on."""
        stored: list[int] = []
        options = {"on_stored": lambda tasks: stored.extend(task["id"] for task in tasks), **options}
        assert (stream or self.stream()).run(self.unanswered(), should_stop=lambda: False, **options)
        return stored

    def open_pass(self, *, champion: Champion | None = None) -> ProjectPass:
        """A pass of a new process."""
        champions = None if champion is None else _Serving(champion, self.settings.model_dir)
        opened = open_pass(self.project(), self.folder, ShownVersion(is_sure=True), self.bench(champions=champions))
        assert isinstance(opened, ProjectPass)
        return opened

    def run_pass(
        self, should_stop: Callable[[], bool] = lambda: False, *, champion: Champion | None = None, has_new_version: bool = False
    ) -> bool:
        """Whether a pass of a new process saw to everything."""
        return self.open_pass(champion=champion).run(should_stop, has_new_version=has_new_version).is_done

    def filler(self, *, clock: Callable[[], float] = time.monotonic) -> Filler:
        """The filler of a new process."""
        return Filler(self.bench(), clock=clock)

    def fill(self, filler: Filler | None = None) -> None:
        """One look that was asked for; of a new process if none is given."""
        self.folder.request("fill")
        (filler or self.filler()).look(threading.Event())

    # What Label Studio holds

    def add(self, *datas: Fields, meta: Fields | None = None) -> list[int]:
        return self.studio.add_tasks(self.project_id, *datas, meta=meta)

    def add_prompts(self, count: int) -> list[int]:
        """That many tasks, "Prompt 0" and so on, without answers."""
        return self.add(*({"prompt": f"Prompt {n}", **EMPTY} for n in range(count)))

    def edit(self, task_id: int, **fields: Any) -> None:
        """What a person does who saves a task's data."""
        task = self.studio.tasks[task_id]
        task["data"] = {**task["data"], **fields}

    def data(self, task_id: int) -> Fields:
        data: Fields = self.studio.tasks[task_id]["data"]
        return data

    def answers(self, task_id: int) -> tuple[Any, Any]:
        return self.data(task_id).get("answer1"), self.data(task_id).get("answer2")

    def record(self, task_id: int) -> Any:
        """What Pairloop noted in the task's meta; None before."""
        return self.studio.tasks[task_id]["meta"].get(META_KEY)

    def is_answered(self, *task_ids: int) -> bool:
        """Whether the echo engine's answers stand in all of these."""
        texts = [text for task_id in task_ids for text in self.answers(task_id)]
        return all(isinstance(text, str) and text.startswith("Echo ") for text in texts)

    def versions(self, task_ids: Sequence[int]) -> list[list[str]]:
        return [self.studio.versions_of(task_id) for task_id in task_ids]

    def promote(self, base: Path, *, weight: float) -> str:
        version = publish_version(self.folder, base, weight=weight)
        Versions(self.folder).promote(version)
        self.champions.of(self.project_id).refresh()
        return version

    # What it was asked

    def before_request(self, request: str, happens: Callable[[], object], *, time: int = 1) -> None:
        """Lets something happen before the double answers that request for the `time`-th time."""
        times: list[str] = []

        def watch(request_now: str) -> None:
            if request_now == request:
                times.append(request_now)
                if len(times) == time:
                    happens()

        self.studio.on_request = watch

    def patched(self) -> list[int]:
        """The ids of tasks that were written to, smallest first; an id for each time."""
        return sorted(task_id for task_id, _ in self.patches())

    def patches(self) -> list[tuple[int, Any]]:
        """Each task that was written to, and what was sent."""
        requests = zip(list(self.studio.requests), list(self.studio.bodies), strict=False)
        return [(int(request.split("/")[3]), body) for request, body in requests if request.startswith("PATCH /api/tasks/")]

    def num_bulks(self) -> int:
        """How many requests brought predictions."""
        return self.studio.requests.count(f"POST /api/projects/{self.project_id}/import/predictions")

    def figure(self, name: str) -> float:
        """A figure of /metrics, such as `tasks_answered_total` or `tasks_unanswered{project="1"}`; 0 if there is none."""
        lines = self.metrics.text().decode().splitlines()
        return next((float(line.rpartition(" ")[2]) for line in lines if line.rpartition(" ")[0] == f"pairloop_{name}"), 0.0)


def impatient(house: House) -> LabelStudioProject:
    """The project as it is read and written if no call is repeated."""
    stopped = threading.Event()
    stopped.set()
    return house.project(patience_seconds=0, stop=stopped)


class _Serving(Champions):
    """One champion, of whatever model."""

    def __init__(self, champion: Champion, model_dir: Path) -> None:
        super().__init__(model_dir, device=torch.device("cpu"))
        self._champion = champion

    def of(self, project_id: int) -> Champion:
        return self._champion


def problems_of(settings: Settings) -> ProjectProblems:
    return ProjectProblems(settings.model_dir, "filler", logging.getLogger("pairloop.filling"))


def warnings_of(caplog: pytest.LogCaptureFixture) -> list[str]:
    """What Pairloop warned of; transformers has warnings of its own."""
    ours = [record for record in caplog.records if record.name.startswith("pairloop.")]
    return [record.getMessage() for record in ours if record.levelno >= logging.WARNING]


def fill_forever(settings: Settings, project_id: int) -> None:
    """What a process does that a test kills; a generator that echoes slowly."""
    champions = Champions(settings.model_dir, device=torch.device("cpu"))
    champions.of(project_id).refresh()
    generator, metrics = RecordingGenerator(lambda prompts: time.sleep(0.01)), Metrics()
    scheduler = Scheduler(lambda: generator, metrics)
    threading.Thread(target=scheduler.run, daemon=True).start()
    Filler(Workbench(settings, champions, scheduler, metrics, problems_of(settings))).run(threading.Event())
