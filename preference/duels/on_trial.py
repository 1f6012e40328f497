"""Which generator version is on trial: one that was promoted, beside what it replaced, until people's duels decide.

Nobody keeps that: it follows from the pointer, from the log of promotions, and from what people said (figures.py). A version that was
rolled back and promoted again is on trial no more: a person wanted it all the same.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from preference.duels.figures import DuelFigures, figures_of
from preference.projects.folder import ProjectFolder
from preference.projects.generators import BASE, Generators
from preference.projects.promotions import Promotions, champions_before


@dataclass(frozen=True)
class OnTrial:
    """A version on trial, and what it replaced: a version, or "base"."""

    version: str
    other: str


def on_trial(folder: ProjectFolder, duels: Sequence[DuelFigures]) -> OnTrial | None:
    """The trial that goes on in a project; None if the base answers, or if these duels have decided.

    Raises:
        OSError: the project's folder may not be read.
    """
    generators = Generators(folder)
    served = generators.champion() or BASE
    return None if served == BASE else trial_of(served, generators.promotions(), duels)


def trial_of(version: str, promotions: Mapping[str, Promotions], duels: Sequence[DuelFigures]) -> OnTrial | None:
    """The same from what was read: the version that answers, and the promotions of all."""
    if version == BASE:
        return None
    other = next(reversed(champions_before(version, promotions)), None)
    known = None if other is None else figures_of(duels, version, other)
    entries = (entry for log in promotions.values() for entry in log)
    was_rolled_back = any(entry["by"] == "rollback" and entry["before"] == version for entry in entries)
    if other is None or was_rolled_back or (known is not None and known.preferred):
        return None
    return OnTrial(version, other)


def what_people_say(trial: OnTrial | None, duels: Sequence[DuelFigures]) -> list[str]:
    """A line for each of a project's `duels`, and one for a version on trial of which none was judged yet."""
    lines = [f"{known}{'; on trial' if trial and known.is_of(trial.version, trial.other) else ''}" for known in duels]
    if trial is not None and figures_of(duels, trial.version, trial.other) is None:
        lines.insert(0, f"{trial.version} is on trial beside {trial.other}; no duel was judged yet")
    return lines
