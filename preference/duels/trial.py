"""Which generator version is on trial: one that was promoted, beside what it replaced, until people's duels decide.

Nobody keeps that: it follows from the pointer, from the log of promotions, and from what people said (figures.py). A version that was
rolled back and promoted again is on trial no more: a person wanted it all the same.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from preference.duels.figures import DuelFigures, figures_of
from preference.projects.folder import ProjectFolder
from preference.projects.generators import BASE, Generators


@dataclass(frozen=True)
class Trial:
    """A version on trial, and what it replaced: a version, or "base"."""

    version: str
    other: str


def trial_of(folder: ProjectFolder, duels: Sequence[DuelFigures]) -> Trial | None:
    """The trial that goes on in a project; None if the base answers, or if these duels have decided.

    Raises:
        OSError: the project's folder may not be read.
    """
    generators = Generators(folder)
    version, other = generators.champion(), generators.champion_before()
    if version is None or version == BASE or other is None:
        return None
    known = figures_of(duels, version, other)
    if known is not None and known.preferred:
        return None
    entries = (entry for log in generators.promotions().values() for entry in log)
    if any(entry["by"] == "rollback" and entry["before"] == version for entry in entries):
        return None
    return Trial(version, other)
