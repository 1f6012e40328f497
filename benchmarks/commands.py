"""CPU seconds of the commands that people wait for, beside those of another checkout, in turns on one installation.

    BASELINE=/path/to/a/checkout make bench ONLY=commands

Label Studio is a real one. The backend and the trainer run, with the echo generator: a command that asks them has its answer,
and what they compute is not counted. BASELINE has to be installed (`make install`); without it there is no ratio.
"""

import os
import resource
import statistics
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

from rich.console import Console

from backend.connecting.connect import connect
from benchmarks.row import Row
from demo.stack import REPOSITORY, Stack, free_port
from preference.labelling.label_config import LabelingLayout
from preference.projects.folder import ProjectFolder
from preference.settings import Settings
from preference.studio.account import Account

_NUM_RUNS = 5
_NUM_TASKS = 60


def run(console: Console) -> list[Row]:
    """A row a command."""
    baseline = Path(os.environ["BASELINE"]) if os.environ.get("BASELINE") else None
    with tempfile.TemporaryDirectory(prefix="pairloop-bench-") as folder:
        ports = {"label_studio_port": free_port(), "backend_port": free_port()}
        with Stack(Path(folder), **ports, settings={"GENERATOR_ENGINE": "echo", "TORCH_THREADS": "1"}) as stack:
            stack.start_label_studio()
            stack.start_pairloop()
            project_id = _judged_project(Settings.from_environ(stack.environ))
            rows = [
                _measured(name, [*command, *arguments], stack.environ, baseline, console)
                for name, command, arguments in _commands(project_id, Path(folder))
            ]
            # Most of an installation's life is with a backend; doctor is also asked when there is none.
            stack.backend.stop()
            stack.trainer.stop()
            stopped = ["pairloop-backend", "doctor", "--project", str(project_id)]
            return [*rows, _measured("doctor, nothing running", stopped, stack.environ, baseline, console)]


def _commands(project_id: int, folder: Path) -> Iterator[tuple[str, list[str], list[str]]]:
    project = ["--project", str(project_id)]
    yield "doctor", ["pairloop-backend", "doctor"], project
    yield "connect", ["pairloop-backend", "connect"], project
    yield "export", ["pairloop-trainer", "export"], [*project, "--out", str(folder / "pairs.jsonl")]
    yield "status", ["pairloop-trainer", "status"], []
    yield "import --help", ["pairloop-backend", "import"], ["--help"]
    yield "-h", ["pairloop-trainer"], ["--help"]


def _judged_project(settings: Settings) -> int:
    """A connected project whose tasks are answered and judged."""
    label_config = (REPOSITORY / "label_config.xml").read_text(encoding="utf-8")
    project = Account(settings.studio).create_project(title="Commands", label_config=label_config)
    control = LabelingLayout.from_label_config(label_config).control
    list(connect(project, ProjectFolder(settings.model_dir, project.id), settings))
    texts = [{"prompt": f"Why {n}?", "answer1": "Because it is so.", "answer2": "It depends."} for n in range(_NUM_TASKS)]
    for place, task_id in enumerate(project.import_tasks([{"data": data} for data in texts])):
        value = {"selected": "left" if place % 3 else "right"}
        project.annotate(
            task_id, [{"from_name": control, "to_name": control, "type": "pairwise", "value": value}], lead_seconds=2
        )
    return project.id


def _measured(name: str, command: list[str], environ: Mapping[str, str], baseline: Path | None, console: Console) -> Row:
    """The medians of some runs of each checkout; they take turns, so that both meet the same machine."""
    checkouts = [REPOSITORY, *([baseline] if baseline else [])]
    seconds: dict[Path, list[float]] = {checkout: [] for checkout in checkouts}
    for turn in range(_NUM_RUNS + 1):
        for checkout in checkouts:
            taken = _cpu_seconds([str(checkout / ".venv" / "bin" / command[0]), *command[1:]], environ, checkout)
            if turn:  # the first one compiles what it imports
                seconds[checkout].append(taken)
    medians = [statistics.median(taken) for taken in seconds.values()]
    console.print(f"{name}: {' beside '.join(f'{median:.2f}' for median in medians)} s of CPU")
    return Row(f"{name}: CPU", medians[0], "s", medians[1] if baseline else None, "BASELINE")


def _cpu_seconds(command: list[str], environ: Mapping[str, str], folder: Path) -> float:
    """User and system seconds of one run, of all its threads."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    ended = subprocess.run(command, env=dict(environ), cwd=folder, capture_output=True, text=True)
    if ended.returncode not in (0, 1):  # 1: doctor's, if something is not well
        raise RuntimeError(f"{' '.join(command)} ended with status {ended.returncode}: {ended.stderr[-500:]}")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
