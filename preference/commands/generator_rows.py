"""What `generators` shows of each generator version: a row of its table, or an object of its JSON, whatever its card holds."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from preference.commands.status_rows import NO_WEIGHTS, promoted_in_words
from preference.errors import RegistryError
from preference.projects.folder import ProjectFolder
from preference.projects.generators import Generators

if TYPE_CHECKING:
    from preference.duels.figures import DuelFigures
    from preference.report_card.generator_card import GeneratorCard

# The last two are texts of any length.
GENERATOR_HEADER = (
    "project", "version", "served", "method", "pairs", "wins", "at equal length", "KL", "repeats", "verdict", "made served",
)  # fmt: skip


@dataclass(frozen=True)
class GeneratorSummary:
    """One generator version; `card` is None if it cannot be read, and `problem` says why."""

    project: int
    version: str
    is_served: bool
    has_weights: bool  # False if KEEP_VERSIONS kept its card alone
    card: "GeneratorCard | None"
    problem: str = ""
    duels: "tuple[DuelFigures, ...]" = ()  # what people say of it, beside others


def read_generator_summaries(folder: ProjectFolder) -> Iterator[GeneratorSummary]:
    """Each generator version of a project, oldest first.

    Raises:
        OSError: the project's folder may not be read.
    """
    from preference.duels.figures import read_duels

    generators, every = Generators(folder), read_duels(folder.path)
    served, promotable = generators.champion(), set(generators.promotable())
    for version in generators.all():
        duels = tuple(known for known in every if version in (known.new, known.other))
        is_served, has_weights = version == served, version in promotable
        try:
            yield GeneratorSummary(folder.project_id, version, is_served, has_weights, generators.card(version), duels=duels)
        except RegistryError as error:
            yield GeneratorSummary(folder.project_id, version, is_served, has_weights, None, str(error), duels)


def generator_row(summary: GeneratorSummary) -> list[str]:
    """The cells of a version, by GENERATOR_HEADER; win rates with their 95 % intervals."""
    begin = [str(summary.project), summary.version, "*" if summary.is_served else ""]
    card, weights = summary.card, "" if summary.has_weights else NO_WEIGHTS
    if card is None:
        return [*begin, "", "", "", "", "", "", f"broken: {summary.problem}{weights}", ""]
    metrics = card.metrics
    repeats = [_per_cent(figures.repeats) for figures in (metrics.answers, metrics.other)]
    return [
        *begin,
        card.method,
        "" if card.num_pairs is None else str(card.num_pairs),
        _share(metrics.wins.value, metrics.wins.interval),
        _share(metrics.length_controlled.value, metrics.length_controlled.interval),
        "" if metrics.kl is None else f"{metrics.kl:.3f}",
        f"{repeats[0]} ({repeats[1]} before)" if all(repeats) else "",
        f"{'promoted' if card.promoted else 'kept back'}: {card.reason}{weights}",
        "; ".join(promoted_in_words(promotion) for promotion in card.promotions),
    ]


def _share(value: float | None, interval: tuple[float, float] | None) -> str:
    if value is None:
        return ""
    return f"{value:.3f}" + (f" ({interval[0]:.3f} to {interval[1]:.3f})" if interval is not None else "")


def _per_cent(value: float | None) -> str:
    return "" if value is None else f"{100 * value:.0f} %"
