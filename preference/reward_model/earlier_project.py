"""What a project learns from an earlier one: a copy of that one's champion, in <project folder>/learnt_from/.

The copy holds the head alone, which is a few thousand numbers over a base that both projects have. So the earlier project may go on, or
be deleted. Imports no torch: `connect` makes the copy.
Not covered: champions of other recipes than `frozen`, which are no weights of features.
"""

import shutil
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from preference.atomic_files import new_folder, writing
from preference.errors import RegistryError
from preference.labelling.holdout import Holdout
from preference.projects.folder import ProjectFolder
from preference.projects.versions import Versions
from preference.report_card.card import ReportCard

_FOLDER, _CARD = "learnt_from", "card.json"
_COPIED = (_CARD, "model.safetensors", "reward_model.json")  # all that a head is


@dataclass(frozen=True)
class EarlierProject:
    """A champion that was copied from another project."""

    path: Path  # of the copy
    project_id: int
    version: str
    holdout: Holdout  # the prompts that it did not train on

    @property
    def name(self) -> str:
        """What cards call it."""
        return f"{self.version} of project {self.project_id}"


def learn_from(folder: ProjectFolder, other: ProjectFolder, *, base: str) -> str:
    """Copies the other project's champion, in place of what was copied before; returns a sentence. `base`: REWARD_BASE.

    Raises:
        RegistryError: there is no such champion, it is of another kind or over another base, or MODEL_DIR is full or not writable.
    """
    number, version = other.project_id, Versions(other).champion()
    if number == folder.project_id:
        raise RegistryError(f"Project {number} cannot learn from itself; name an earlier project.")
    if version is None:
        raise RegistryError(f"Project {number} has no champion to learn from; name a project that has one.")
    published, card = Versions(other).weights(version), Versions(other).card(version, promotions=())
    if card.recipe != "frozen":
        raise RegistryError(
            f"The champion {version} of project {number} is of the recipe {card.recipe}; only one of frozen can be learnt from."
        )
    if card.base != base:
        raise RegistryError(
            f"The champion {version} of project {number} reads with {card.base}, and REWARD_BASE is {base}; use the same."
        )
    with suppress(RegistryError):  # a damaged copy is replaced
        if (known := read_earlier_project(folder)) is not None and (known.project_id, known.version) == (number, version):
            return ""
    folder.create()
    with folder.locked(), writing(folder.path):
        if (folder.path / _FOLDER).exists():
            shutil.rmtree(folder.path / _FOLDER)
        with new_folder(folder.path / _FOLDER) as copy:
            copy.mkdir()
            for name in _COPIED:
                shutil.copyfile(published / name, copy / name)
    return f"learns from {version} of project {number}, whose head was copied"


def read_earlier_project(folder: ProjectFolder) -> EarlierProject | None:
    """What was copied; None if nothing was.

    Raises:
        RegistryError: the copy's card is damaged.
    """
    path = folder.path / _FOLDER
    if not path.is_dir():
        return None
    card = ReportCard.read(path / _CARD)
    return EarlierProject(path, card.project_id, card.version, card.holdout)
