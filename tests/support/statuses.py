"""How a project stands, as tests write it and read it."""

import json
from pathlib import Path
from typing import Any

from preference.atomic_files import write_whole
from preference.projects.folder import ProjectFolder
from preference.projects.status import ProjectStatus, read_project_status, read_trainer_status
from preference.projects.status_files import ProjectCounts, write_project_counts


def status_of(folder: ProjectFolder) -> ProjectStatus:
    return read_project_status(folder, read_trainer_status(folder.model_dir))


def read_json(path: Path) -> Any:
    """What a file holds, whose keys the builds before and after this one share."""
    return json.loads(path.read_text(encoding="utf-8"))


def filling_of(folder: ProjectFolder) -> dict[str, Any]:
    """What filling.json holds; empty if there is none."""
    path = folder.path / "filling.json"
    values: dict[str, Any] = read_json(path) if path.exists() else {}
    return values


def keep_filling(folder: ProjectFolder, values: dict[str, Any]) -> None:
    """Makes filling.json hold these values, whatever they are."""
    write_whole(folder.path / "filling.json", json.dumps(values))


def write_counts(folder: ProjectFolder, num_new_judgements: int, **counts: Any) -> None:
    """As a trainer does after it looked at the project."""
    write_project_counts(folder, ProjectCounts(num_new_judgements=num_new_judgements, **counts))
