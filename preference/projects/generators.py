"""The versions of one project's generator, in its folder: generators/<version>, and the pointer `generator`.

A version is an adapter on a named base, as peft reads it, with card.json. published.py says what holds for versions. Before the
first promotion, and after a rollback of it, the base itself answers.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from preference.generation.jobs import Adapter
from preference.projects.folder import ProjectFolder
from preference.projects.promotions import Promotions
from preference.projects.published import Published

if TYPE_CHECKING:
    from preference.report_card.generator_card import GeneratorCard

BASE = "base"


class Generators(Published["GeneratorCard"]):
    """One project's generator versions, and which of them answers. Safe for any number of processes."""

    room, pointer, letter, noun, title = "generators", "generator", "g", "generator version", "served generator"
    taken_up = "new answers are its"
    origin = BASE

    def served(self) -> Adapter | None:
        """The version that is to answer; None is the base.

        Raises:
            RegistryError: as `adapter` has it.
        """
        version = self.champion()
        return None if version is None else self.adapter(version)

    def adapter(self, version: str) -> Adapter | None:
        """A version as engines take it; None is the base.

        Raises:
            RegistryError: it is not there, its weights are not, or its card is damaged.
        """
        if version == BASE:
            return None
        return Adapter(version, self.weights(version), self.card(version).answer_prefix)

    def _read_card(self, path: Path, *, version: str, promotions: Promotions) -> "GeneratorCard":
        from preference.report_card.generator_card import GeneratorCard

        return GeneratorCard.read(path, project_id=self.folder.project_id, version=version, promotions=promotions)


def of_name(folder: ProjectFolder, version: str) -> Published[Any]:
    """Where a version of this name belongs: the project's generators, or its reward models."""
    from preference.projects.versions import Versions

    is_generator = version == BASE or version.startswith(Generators.letter)
    return Generators(folder) if is_generator else Versions(folder)
