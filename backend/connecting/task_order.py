"""The order in which Label Studio serves a project's tasks: as ORDER says, and afterwards as it was before.

    <project folder>/sampling.json   what it was before `connect`, and what that made of it

Covered: an ORDER that changed since; an order that somebody chose in Label Studio meanwhile, which stays.
Not covered: what it was before an earlier build connected, which is taken for Label Studio's own default.
"""

from dataclasses import dataclass
from pathlib import Path

from pydantic import TypeAdapter

from preference.atomic_files import write_whole, writing
from preference.projects.folder import ProjectFolder
from preference.studio.project import LabelStudioProject
from preference.studio.task import ProjectFields

UNCERTAINTY = "Uncertainty sampling"
SAMPLING = {"uncertain": UNCERTAINTY, "random": "Uniform sampling"}  # by ORDER, as Label Studio names it
_SEQUENTIAL = "Sequential sampling"  # what a new project has


@dataclass(frozen=True)
class _Changed:
    before: str
    ours: str


_FILE = TypeAdapter(_Changed)


def set_order(project: LabelStudioProject, folder: ProjectFolder, state: ProjectFields, order: str, *, is_new: bool) -> list[str]:
    """A sentence for what was changed, if anything was. `is_new`: the project was not connected before.

    Raises:
        StudioError: Label Studio refused.
        RegistryError: MODEL_DIR is full or not writable.
    """
    sampling, ours, known = state.get("sampling") or _SEQUENTIAL, SAMPLING[order], _read(folder)
    if sampling != ours or is_new:
        before = known.before if known is not None and known.ours == sampling else sampling
        with writing(folder.path):
            write_whole(_path(folder), _FILE.dump_json(_Changed(before, ours)))
    if sampling == ours:
        return []
    project.update(sampling=ours)
    return [f"switched {ours.lower()} on"]


def restore_order(project: LabelStudioProject, folder: ProjectFolder, state: ProjectFields, order: str) -> list[str]:
    """The same of what was put back.

    Raises:
        StudioError: Label Studio refused.
        RegistryError: MODEL_DIR is not writable.
    """
    sampling, known = state.get("sampling"), _read(folder) or _Changed(_SEQUENTIAL, SAMPLING[order])
    done = []
    if known.ours == sampling != known.before:
        project.update(sampling=known.before)
        done.append(f"switched back to {known.before.lower()}")
    with writing(folder.path):
        _path(folder).unlink(missing_ok=True)
    return done


def _path(folder: ProjectFolder) -> Path:
    return folder.path / "sampling.json"


def _read(folder: ProjectFolder) -> _Changed | None:
    try:
        return _FILE.validate_json(_path(folder).read_bytes())
    except (OSError, ValueError):  # there is none, or it is damaged
        return None
