"""`make demo`: prompts in, answers and rewards out, choices back, a new reward model live, on this machine."""

import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import click
import httpx
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from backend.connecting.connect import connect
from demo.annotator import RULE, judge
from demo.process import StackError, wait_until
from demo.stack import PASSWORD, PROGRAMS, REPOSITORY, USER, Stack
from demo.summary import BY_NEW, summary
from preference.duels.duel import KEY
from preference.errors import PairloopError
from preference.labelling.label_config import LabelingLayout
from preference.projects.folder import ProjectFolder
from preference.projects.generators import Generators
from preference.projects.versions import UNTRAINED, Versions
from preference.report_card.card import ReportCard
from preference.report_card.generator_card import GeneratorCard
from preference.settings import Settings
from preference.studio.account import Account
from preference.studio.task import META_KEY, Task, entry_of

_NUM_KEPT_OPEN = 16  # tasks that the annotator keeps for you
_NUM_JUDGED_FIRST = 160
DEMO_SETTINGS = {
    "MAX_NEW_TOKENS": "48",
    "TORCH_THREADS": "1",
    "FILL_EVERY_SECONDS": "10",
    "TRAIN_SCHEDULE": "15s",
    "LOOK_EVERY_SECONDS": "2",
    "MIN_PAIRS": "50",
    "HOLDOUT_FRACTION": "0.3",
}


@click.command()
@click.option("--exit", "exits", is_flag=True, help="Stop everything at the end; exit 0 only if every stage happened.")
@click.option("--label-studio-port", default=8080, show_default=True, type=click.IntRange(1, 65535))
@click.option("--backend-port", default=9090, show_default=True, type=click.IntRange(1, 65535))
@click.option("--folder", default=REPOSITORY / ".demo", type=click.Path(path_type=Path), help="Where everything is kept.")
def main(exits: bool, label_studio_port: int, backend_port: int, folder: Path) -> None:
    """Run the whole loop, then stay up so that you can label."""
    console = Console()
    for name in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(name, signal.default_int_handler)  # whatever ends this process stops the other three
    has_ended = False
    try:
        with Stack(folder, label_studio_port=label_studio_port, backend_port=backend_port, settings=DEMO_SETTINGS) as stack:
            Demo(stack, console).run()
            has_ended = True
            if exits:
                console.print("Stopping (--exit).")
            else:
                console.print("All three keep running. [bold]Ctrl-C[/] stops them.")
                while True:
                    stack.check()
                    time.sleep(1)
        console.print("Stopped: Label Studio, backend, trainer.")
    except KeyboardInterrupt:
        console.print("\nStopped: Label Studio, backend, trainer.")
        sys.exit(0 if has_ended else 130)
    except PairloopError as error:
        console.print(f"[red]{error}[/]", highlight=False)
        console.print(f"The logs are in {folder / 'logs'}.")
        sys.exit(1)


class Demo:
    """The stages of the loop, one method each, timed as they run."""

    def __init__(self, stack: Stack, console: Console) -> None:
        self.stack, self.console = stack, console
        self.seconds: dict[str, float] = {}
        self.settings = Settings.from_environ(stack.environ)
        self.counts: Counter[str] = Counter()

    def run(self) -> ReportCard:
        """Runs every stage and prints the closing table; the card of the version that is served at the end.

        Raises:
            PairloopError: a stage did not happen.
        """
        self.stage("start Label Studio", self.stack.start_label_studio)
        self.stage("start backend and trainer", self.stack.start_pairloop)
        self.stage("create and connect a project", self.create_project)
        self.stage("answer every task", self.fill)
        card: ReportCard = self.stage("judge, retrain, promote", self.judge_until_promoted)
        self.stage("reload and score open tasks", lambda: self.reload(card.version))
        learnt: GeneratorCard = self.stage("let the generator learn", self.align)
        self.stage("answer and score new tasks", lambda: self.add_tasks(card.version, learnt))
        self.console.print(
            summary(self.folder, card, learnt, num_tasks=len(self.task_ids), counts=self.counts, seconds=self.seconds)
        )
        self.console.print(
            f"Label Studio: [link]{self.stack.url}/projects/{self.project.id}[/link]   user {USER}   password {PASSWORD}",
            highlight=False,
        )
        return card

    def stage(self, name: str, action: Callable[[], Any]) -> Any:
        """Runs one stage under its name."""
        self.console.rule(f"[bold]{name}", align="left")
        started = time.monotonic()
        result: Any = action()
        self.seconds[name] = time.monotonic() - started
        self.console.print(f"done in {self.seconds[name]:.1f} s", style="dim")
        return result

    def create_project(self) -> None:
        """Makes the project from label_config.xml and connects it through Label Studio's API."""
        label_config = (REPOSITORY / "label_config.xml").read_text(encoding="utf-8")
        self.project = Account(self.settings.studio).create_project(title="Pairloop demo", label_config=label_config)
        self.layout = LabelingLayout.from_label_config(label_config)
        self.folder = ProjectFolder(self.settings.model_dir, self.project.id)
        for sentence in connect(self.project, self.folder, self.settings):
            self.console.print(sentence)

    def fill(self) -> None:
        """Imports prompts without answers, and waits until the backend has answered them."""
        self.task_ids = self.project.import_tasks([self._task(prompt) for prompt in _lines("prompts.txt")])
        self.console.print(f"imported {len(self.task_ids)} prompts without answers; the backend hears TASKS_CREATED")
        with self._progress("tasks answered") as show:
            self._wait(
                lambda: show(len(self.task_ids) - self._num_unanswered(), len(self.task_ids)), 1200, "every task to be answered"
            )
        answers = [self.layout.answers(task["data"]) for task in self.project.tasks(self.task_ids).values()]
        if any(left is None or left == right for left, right in answers):
            raise StackError("Some tasks were not given two different answers.")

    def judge_until_promoted(self) -> ReportCard:
        """Judges batch by batch until the trainer promotes a version of its own accord."""
        self.console.print(f"[bold yellow]A scripted annotator judges, not a person.[/] Its rule: {RULE}")
        to_judge = self.task_ids[:-_NUM_KEPT_OPEN]
        for batch in (to_judge[:_NUM_JUDGED_FIRST], to_judge[_NUM_JUDGED_FIRST:]):
            self._judge(batch)
            with self.console.status("waiting for the trainer's schedule to notice, retrain and judge"):
                self._wait(self._is_judged_by_trainer, 180, "the trainer's round")
            for version in Versions(self.folder).all():
                card = Versions(self.folder).card(version)
                verdict = "promoted" if card.promoted else "kept back"
                self.console.print(f"{version} {verdict}: {card.reason}", highlight=False)
            if (promoted := self._champion_card()) is not None:
                return promoted
        raise StackError("No challenger was good enough to be promoted; the versions above say why.")

    def reload(self, version: str) -> None:
        """The backend serves the new version without a restart and scores the tasks that nobody has judged."""
        with self.console.status(f"waiting for the backend to serve {version}"):
            self._wait(lambda: self._served_version() == version, 60, f"the backend to serve {version}")
        open_ids = self.task_ids[-_NUM_KEPT_OPEN:]
        with self._progress(f"open tasks scored by {version}") as show:
            self._wait(lambda: show(self._num_scored(open_ids, version), len(open_ids)), 120, "open tasks to be scored")
        self._wait(lambda: self._names_everywhere() == {version}, 30, "title, project and predictions to name one version")

    def align(self) -> GeneratorCard:
        """The model that writes the answers learns from the same judgements, and is judged beside itself as it was."""
        command = [str(PROGRAMS / "pairloop-trainer"), "align", "--project", str(self.project.id)]
        log = self.stack.folder / "logs" / "align.log"
        began = os.times()
        with (
            log.open("w", encoding="utf-8") as errors,
            subprocess.Popen(command, env=self.stack.environ, stdout=subprocess.PIPE, stderr=errors, text=True) as running,
        ):
            assert running.stdout is not None
            for line in running.stdout:
                self.console.print(line.rstrip(), highlight=False)
        ended = os.times()  # of children that have ended, user and system: of this one alone
        self.seconds["learn and be judged, on one core"] = sum(ended[2:4]) - sum(began[2:4])
        if running.returncode:
            raise StackError(f"The generator did not learn; {log} says why.")
        return Generators(self.folder).card(Generators(self.folder).all()[-1])

    def add_tasks(self, version: str, learnt: GeneratorCard) -> None:
        """New prompts are answered by the generator that learnt, if it was promoted, and scored by the new version."""
        ids = self.project.import_tasks([self._task(prompt) for prompt in _lines("new_prompts.txt")])
        with self._progress("new tasks answered and scored") as show:
            self._wait(lambda: show(self._num_scored(ids, version), len(ids)), 120, "new tasks to be scored")
        records = [entry_of(task, META_KEY) for task in self.project.tasks(ids).values()]
        self.counts[BY_NEW] = sum(learnt.version in _writers(record) for record in records)
        if learnt.promoted and self.counts[BY_NEW] < len(ids):
            raise StackError(f"Some new tasks were not answered by {learnt.version}.")
        self.task_ids += ids

    # What the stages look at

    def _task(self, prompt: str) -> Task:
        return {"data": self.layout.task_data(self.layout.with_prompt({}, prompt))}

    def _num_unanswered(self) -> int:
        return self.project.num_unanswered(self.layout)

    def _num_scored(self, task_ids: list[int], version: str) -> int:
        tasks = self.project.tasks(task_ids).values()
        return sum(
            version in (task.get("predictions_model_versions") or "") or KEY in entry_of(task, META_KEY)  # a duel is blind
            for task in tasks
        )

    def _champion_card(self) -> ReportCard | None:
        version = Versions(self.folder).champion()
        return Versions(self.folder).card(version) if version else None

    def _judge(self, task_ids: list[int]) -> None:
        tasks = self.project.tasks(task_ids)
        with self._progress("tasks judged") as show:
            for num_done, side in enumerate(judge(self.project, self.layout, (tasks[i] for i in task_ids)), 1):
                self.counts[side or "skipped"] += 1
                show(num_done, len(task_ids))
        self.console.print(", ".join(f"{name} {self.counts[name]}" for name in ("left", "right", "skipped")))

    def _is_judged_by_trainer(self) -> bool:
        """Whether the latest version, promoted or not, was made of every judgement so far."""
        versions = Versions(self.folder).all()
        num_counted = Versions(self.folder).card(versions[-1]).num_annotations if versions else 0
        return num_counted >= self.counts["left"] + self.counts["right"]

    def _served_version(self) -> str:
        try:
            versions: dict[str, str] = httpx.get(f"{self.stack.backend_url}/health", timeout=5).json()["versions"]
        except httpx.HTTPError:
            return ""
        return versions.get(str(self.project.id), UNTRAINED)

    def _names_everywhere(self) -> set[str]:
        return {*(row.title for row in self.project.connections.all()), self.project.read()["model_version"]}

    def _wait(self, condition: Callable[[], bool], timeout_seconds: float, what: str) -> None:
        wait_until(condition, timeout_seconds=timeout_seconds, what=what, check=self.stack.check, every_seconds=2)

    def _progress(self, what: str) -> "_Bar":
        return _Bar(what, self.console)


class _Bar:
    """A progress bar; as a function it shows a state and says whether that is the end."""

    def __init__(self, what: str, console: Console) -> None:
        columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()
        self._bar = Progress(*columns, console=console)
        self._task = self._bar.add_task(what, total=None)

    def __enter__(self) -> Callable[[int, int], bool]:
        self._bar.start()
        return self._show

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def _show(self, done: int, total: int) -> bool:
        self._bar.update(self._task, completed=done, total=total)
        return done >= total


def _lines(name: str) -> list[str]:
    return (REPOSITORY / "demo" / name).read_text(encoding="utf-8").splitlines()


def _writers(record: Mapping[str, Any]) -> set[str]:
    """The generator versions that wrote a task's answers."""
    return {record.get("generator_version", ""), *record.get("generator_versions", {}).values()}


if __name__ == "__main__":
    main()
