"""What is wrong with each project, as one process finds it: logged once while it stays the same, and kept for every other process.

    MODEL_DIR/problems_filler.json, problems_trainer.json   {"problems": {"<project id>": ["<sentence>", ...]}}

They do not lie in the projects' folders: a folder that cannot be written is such a problem.
Covered: a file that is missing or damaged; the file of a process that ended or was killed, which says nothing. A file that cannot be
written is tried again; meanwhile the log alone has it.
"""

import json
import logging
import threading
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Literal, get_args

from pydantic import BaseModel, Field

from preference.atomic_files import write_whole
from preference.file_locks import is_held
from preference.tolerant import Items, Rows, Text

Process = Literal["filler", "trainer"]  # each holds MODEL_DIR/<process>.lock while it works


class _File(BaseModel):
    """What the file of one process says."""

    problems: Items[Rows[Text]] = Field(default_factory=dict)  # by project id


class ProjectProblems:
    """What one process finds. Safe for any number of threads."""

    def __init__(self, model_dir: Path, process: Process, logger: logging.Logger) -> None:
        self._path, self._logger = _path(model_dir, process), logger
        self._found: dict[int, dict[str, str]] = {}
        self._kept: dict[str, tuple[str, ...]] | None = None  # None: not known, as a process before this one may have kept some
        self._lock = threading.Lock()

    def note(self, project_id: int, part: str, problem: str = "", *, has_trace: bool = False) -> None:
        """Notes what is wrong with a part of a project's work; without `problem`, that it is well.

        `has_trace`: an exception that is being handled is logged with it.
        """
        with self._lock:
            parts = self._found.setdefault(project_id, {})
            is_news = parts.get(part, "") != problem
            parts[part] = problem
            self._keep()
        if problem and is_news:
            level = logging.ERROR if has_trace else logging.WARNING
            self._logger.log(level, "project %d: %s", project_id, problem, exc_info=has_trace)

    def begin_anew(self) -> None:
        """Forgets what it found: another process may have worked in its place meanwhile, and kept what that found."""
        with self._lock:
            self._found.clear()
            self._kept = None

    def _keep(self) -> None:
        found = {str(number): tuple(filter(None, parts.values())) for number, parts in self._found.items()}
        found = {number: problems for number, problems in found.items() if problems}
        with suppress(OSError):
            if found != (_read(self._path) if self._kept is None else self._kept):
                write_whole(self._path, json.dumps({"problems": found}), is_durable=False)
            self._kept = found


def read_problems(model_dir: Path, *, of: Sequence[Process] = get_args(Process)) -> dict[int, list[str]]:
    """What those of these processes noted that work now, by project id; nothing, if it cannot be read."""
    problems: dict[int, list[str]] = {}
    for process in of:
        with suppress(OSError):
            noted = _read(_path(model_dir, process))
            for number, sentences in noted.items() if noted and _is_working(model_dir, process) else ():
                if number.isdecimal():
                    problems.setdefault(int(number), []).extend(sentences)
    return problems


def _is_working(model_dir: Path, process: Process) -> bool:
    """Whether a process holds the lock; True also if that cannot be found out."""
    try:
        return is_held(model_dir / f"{process}.lock")
    except OSError:
        return True


def _path(model_dir: Path, process: Process) -> Path:
    return model_dir / f"problems_{process}.json"


def _read(path: Path) -> dict[str, tuple[str, ...]]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError, RecursionError):
        return {}
    return _File.model_validate(content if isinstance(content, dict) else {}).problems
