"""A Label Studio that fails at each request of a visit and of a round's reading, in every way that it has.

Each case has a double, a project and a folder of its own, and all run at once: most of their time is waiting.
"""

import logging
import re
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch

from preference.errors import StudioUnreachable, TrainingError
from preference.projects.folder import ProjectFolder
from preference.projects.versions import Versions
from preference.reward_model.extractors import Extractors
from preference.settings import Settings
from preference.studio.project import LabelStudioProject
from tests.support.filling_house import EMPTY, House
from tests.support.lab import judged_tasks
from tests.support.nightly import IS_NIGHTLY
from tests.support.studio_double import CUT, EXCHANGES_A_TOKEN, StudioDouble, wait_until
from tests.support.studio_records import LABEL_CONFIG
from tests.support.versions import publish_version
from trainer.daemon.due_rounds import DueRounds
from trainer.judgements.reader import read_judgements
from trainer.rounds.outcome import Round, run_here
from trainer.rounds.round import run_round
from trainer.rounds.unfinished import UnfinishedRound

CPU = torch.device("cpu")
AT_ONCE = 16
EVERY = 1 if IS_NIGHTLY else 8  # each request meets every fault, or an eighth of them
OTHER_CONFIG = LABEL_CONFIG.replace("$answer1", "$first").replace("$answer2", "$second")
MISFIT = "<View><Text name='t' value='$text'/></View>"


@dataclass
class Fault:
    """What happens at the n-th request, and what ends it if it does not end by itself."""

    begin: Callable[["Case"], object]
    end: Callable[["Case"], object] | None = None  # called once the log says what is wrong
    says: str = ""  # what the log then says; nothing if work simply goes on
    is_followed: bool = False  # the tasks or the label config are others from then on


@dataclass
class Case:
    studio: StudioDouble
    project_id: int
    caplog: pytest.LogCaptureFixture
    num_requests: int = 0
    is_away: bool = False  # until the log says so
    kept: dict[str, Any] = field(default_factory=dict)

    def break_at(self, number: int, begin: Callable[["Case"], object]) -> None:
        def watch(request: str) -> None:
            self.num_requests += 1
            if self.num_requests == number:
                begin(self)
            self.is_away = self.is_away and not any(AWAY in message for message in logged(self))
            if self.is_away:
                self.studio.failures = [503]

        self.studio.on_request = watch

    @property
    def tasks(self) -> list[dict[str, Any]]:
        return [task for task in list(self.studio.tasks.values()) if task["project"] == self.project_id]


def fail(*statuses: int, retry_after: str | None = None) -> Callable[[Case], None]:
    def begin(case: Case) -> None:
        case.studio.failures, case.studio.retry_after = list(statuses), retry_after

    return begin


def restart(case: Case) -> None:
    """Nobody listens for a while, and then a proxy says that it is not up yet."""
    case.studio.go_down()

    def go_up() -> None:
        case.studio.failures = [502]
        case.studio.page = "<html>Bad Gateway</html>"
        case.studio.go_up()

    threading.Timer(0.7, go_up).start()


def be_away(case: Case) -> None:
    case.is_away = True


def be_slow(case: Case) -> None:
    def wait(request: str) -> None:
        threading.Event().wait(0.3)

    case.studio.on_arrival = wait


def refuse_keys(case: Case, *, refuses: bool = True) -> None:
    case.studio.refuses_keys = refuses


def delete_project(case: Case) -> None:
    case.kept = {"project": case.studio.projects.pop(case.project_id), "tasks": case.tasks}
    for task in case.kept["tasks"]:
        del case.studio.tasks[task["id"]]


def restore_project(case: Case) -> None:
    case.studio.tasks.update({task["id"]: task for task in case.kept["tasks"]})
    case.studio.projects[case.project_id] = case.kept["project"]


def delete_task(case: Case) -> None:
    del case.studio.tasks[case.tasks[1]["id"]]


def configure(case: Case, *, label_config: str) -> None:
    case.studio.projects[case.project_id]["label_config"] = label_config


AWAY = "does not answer; trying again with growing waits"
FAULTS = {
    "500": Fault(fail(500)),
    "429": Fault(fail(429, retry_after="1")),
    "hangs up": Fault(fail(0)),
    "cuts its answer": Fault(fail(CUT)),
    "restarts": Fault(restart),
    "away": Fault(be_away, says=AWAY),
    "slow": Fault(be_slow),
    "key": Fault(refuse_keys, partial(refuse_keys, refuses=False), "refuses LABEL_STUDIO_API_KEY"),
    "project deleted": Fault(delete_project, restore_project, "no such thing in project"),
    "task deleted": Fault(delete_task, is_followed=True),
    "another config": Fault(partial(configure, label_config=OTHER_CONFIG), is_followed=True),
    "a config that does not fit": Fault(
        partial(configure, label_config=MISFIT), partial(configure, label_config=LABEL_CONFIG), "label config"
    ),
}


@contextmanager
def case_number(number: int, caplog: pytest.LogCaptureFixture) -> Iterator[Case]:
    """A case whose ids no other has, so that its log can be separated from theirs."""
    with StudioDouble(first_id=1000 * number) as studio:
        yield Case(studio, studio.add_project(), caplog)


def settings_of(case: Case, folder: Path, **environ: str) -> Settings:
    """With a personal access token, which is exchanged first."""
    ours = {
        "MODEL_DIR": str(folder), "LABEL_STUDIO_URL": case.studio.url, "DEVICE": "cpu", "TORCH_THREADS": "1",
        "LABEL_STUDIO_API_KEY": case.studio.personal_access_token(), "CONTROL_PERCENT": "0",
    }  # fmt: skip
    return Settings.from_environ({**ours, **environ})


def logged(case: Case) -> list[str]:
    """What was warned of this case."""
    of_it = re.compile(rf"project {case.project_id}:|{re.escape(case.studio.url)} ")
    ours = [record for record in list(case.caplog.records) if record.levelno >= logging.WARNING]
    return [message for record in ours if of_it.search(message := record.getMessage())]


def check_log(case: Case, fault: Fault) -> None:
    """One line says that Label Studio is awaited, and one what a pass or a round could not do."""
    messages = [message for message in logged(case) if "predictions" not in message]  # Label Studio did not keep them
    awaited = [message for message in messages if AWAY in message]
    assert len(awaited) <= 1, messages
    assert len(messages) - len(awaited) <= 1 + fault.is_followed, messages
    assert not fault.says or any(fault.says in message for message in logged(case)), logged(case)


def at_every_request(run: Callable[[int, Fault, int], int], *, faults: dict[str, Fault], num_requests: int) -> None:
    """Runs the cases of faults at each request; a failed one is named."""
    cases = [(name, at) for at in range(1, num_requests + 1) for i, name in enumerate(faults) if (at + i) % EVERY == 0]
    with ThreadPoolExecutor(AT_ONCE) as pool:
        running = {pool.submit(run, number, faults[name], at): (name, at) for number, (name, at) in enumerate(cases, 2)}
    failed = [f"{named}: {error!r}" for future, named in running.items() if (error := future.exception()) is not None]
    assert not failed, "\n".join(failed)


# The filler


@pytest.fixture(scope="module")
def published(tiny_base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a version of a project; only to be copied."""
    folder = tmp_path_factory.mktemp("published")
    publish_version(ProjectFolder(folder, 1), tiny_base, weight=1)
    return folder / "projects" / "1"


def fill(number: int, fault: Fault, at: int, *, published: Path, folder: Path, caplog: pytest.LogCaptureFixture) -> int:
    """Fills five tasks while one request fails, and checks what is there at the end; how many requests it took."""
    with case_number(number, caplog) as case:
        settings = settings_of(case, folder / str(number), FILL_EVERY_SECONDS="0.2")
        shutil.copytree(published, settings.model_dir / "projects" / str(case.project_id))
        with House(case.studio, settings, project_id=case.project_id) as house:
            (version,) = Versions(house.folder).all()
            Versions(house.folder).promote(version)
            house.champions.of(case.project_id).refresh()
            house.add_prompts(4)
            house.add({"prompt": "Half", "answer1": "Mine.", "answer2": ""})
            case.studio.add_row(case.project_id, "http://127.0.0.1:9090", "A person's title")
            case.break_at(at, fault.begin)
            stop = threading.Event()
            thread = threading.Thread(target=house.filler().run, args=[stop], daemon=True)
            thread.start()
            try:
                wait_until(lambda: not fault.says or any(fault.says in message for message in logged(case)), seconds=60)
                if fault.end is not None:
                    fault.end(case)
                wait_until(lambda: case.num_requests >= at and all(map(partial(is_done, case), case.tasks)), seconds=60)
            finally:
                stop.set()
                house.stop_writing()
                thread.join(30)
        assert [case.studio.versions_of(task["id"]) for task in case.tasks] == [[version]] * len(case.tasks)
        assert len(case.tasks) == 5 - (fault.begin is delete_task)
        for task in case.tasks:
            assert task["data"]["prompt"] != "Half" or task["data"]["answer1"] == "Mine."
        stored: dict[int, Any] = {}
        for task_id, body in house.patches():
            assert fault.is_followed or stored.setdefault(task_id, body["data"]) == body["data"]
        check_log(case, fault)
        return case.num_requests


def is_done(case: Case, task: dict[str, Any]) -> bool:
    is_other = case.studio.projects[case.project_id]["label_config"] == OTHER_CONFIG
    fields = ("first", "second") if is_other else tuple(EMPTY)
    return all(task["data"].get(field) for field in fields) and bool(task["predictions"])


@pytest.mark.timeout(300)
@EXCHANGES_A_TOKEN
def test_every_task_is_answered_and_scored_once_whatever_request_fails(
    published: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run = partial(fill, published=published, folder=tmp_path, caplog=caplog)
    num_requests = run(1, Fault(lambda case: None), 1)
    at_every_request(run, faults=FAULTS, num_requests=num_requests)

    assert "Traceback" not in caplog.text


# The trainer


def read_and_train(
    number: int, fault: Fault, at: int, *, scratch: Path, caplog: pytest.LogCaptureFixture, is_second: bool
) -> int:
    """A round that reads judgements, the first or a second one, while one request fails; how many requests it took.

    It is asked for once, and ends with too few pairs, so that reading is all that it does.
    """
    with case_number(number, caplog) as case:
        settings = settings_of(case, scratch / str(number), MIN_PAIRS="1000")
        folder = ProjectFolder(settings.model_dir, case.project_id)
        rounds: list[Round] = []

        def round_of(project: LabelStudioProject, folder: ProjectFolder) -> Round:
            run = partial(run_round, project, folder, settings, extractors=Extractors(settings.model_dir, CPU))
            ended = run_here(folder, run)
            if isinstance(ended, StudioUnreachable | TrainingError):
                raise ended
            rounds.append(ended)
            return ended

        def judge(num_tasks: int) -> None:
            for task in judged_tasks(num_tasks):
                (task_id,) = case.studio.add_tasks(case.project_id, task["data"])
                case.studio.annotate(task_id, task["annotations"][0]["result"])

        def look() -> None:
            folder.request("train")
            num_before, end = len(rounds), time.monotonic() + 60
            while len(rounds) == num_before or rounds[-1].outcome == "failed":
                assert time.monotonic() < end, (rounds, logged(case))
                watch.look()
                if fault.end is not None and any(fault.says in message for message in logged(case)):
                    fault.end(case)
                    folder.request("train")

        watch = DueRounds(settings, round_of)
        judge(20)
        if is_second:
            look()
        case.break_at(at, fault.begin)
        judge(5)
        look()
        while case.num_requests < at:
            case.studio.on_request("")
        look()
        project = LabelStudioProject(settings.studio, case.project_id)
        truth = read_judgements(project, scratch / f"{number} anew", state=project.read(), now=time.time())
        kept = read_judgements(project, folder.path, state=project.read(), now=time.time())
        assert kept == truth
        assert len(truth) == 25 - (fault.begin is delete_task)
        is_other = case.studio.projects[case.project_id]["label_config"] == OTHER_CONFIG
        assert rounds[-1].reason.startswith(f"{0 if is_other else len(truth)} of 1000 pairs (MIN_PAIRS)"), rounds[-1]
        assert not UnfinishedRound(folder).exists
        check_log(case, fault)
        return case.num_requests


@pytest.mark.timeout(300)
@EXCHANGES_A_TOKEN
@pytest.mark.parametrize("is_second", [False, True], ids=["first round", "second round"])
def test_a_round_knows_every_judgement_in_the_end_whatever_request_fails(
    is_second: bool, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run = partial(read_and_train, scratch=tmp_path, caplog=caplog, is_second=is_second)
    num_requests = run(1, Fault(lambda case: None), 1)

    at_every_request(run, faults=FAULTS, num_requests=num_requests)

    assert "Traceback" not in caplog.text
