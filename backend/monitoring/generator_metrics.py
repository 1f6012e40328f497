"""How each project's generator stands, as figures for /metrics: which version answers, how often it wins, how the last alignment ended."""

from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar

from prometheus_client import Metric
from prometheus_client.core import GaugeMetricFamily

from preference.duels.figures import DuelFigures, read_duels
from preference.errors import RegistryError
from preference.projects.generators import BASE, Generators
from preference.projects.status import ProjectStatus

_T = TypeVar("_T")


def generator_metrics(projects: Iterable[ProjectStatus]) -> list[Metric]:
    """The figures as they are now. What is not known has no line."""
    serving = _gauge("pairloop_generator_info", "The generator version that answers; none is the base", ["project", "version"])
    rate = _gauge("pairloop_generator_win_rate", "How often it won when it was judged, at equal length", ["project"])
    ended = _gauge("pairloop_last_alignment_timestamp_seconds", "When the last alignment ended, and how", ["project", "outcome"])
    took = _gauge("pairloop_last_alignment_seconds", "How long the last alignment took", ["project"])
    duels = _gauge("pairloop_duels_judged", "Duels of two generators that people judged", ["project", "new", "other"])
    wins = _gauge("pairloop_duel_wins", "The share of these in which people prefer the new one", ["project", "new", "other"])
    for status in projects:
        project, last = str(status.project_id), status.last_alignment
        version, won = _served(status)
        if version is not None:
            serving.add_metric([project, version], 1)
        if won is not None:
            rate.add_metric([project], won)
        if last.at is not None and last.seconds is not None:
            ended.add_metric([project, last.outcome], last.at)
            took.add_metric([project], last.seconds)
        for known in _known(lambda: read_duels(status.folder.path), _NO_DUELS):  # noqa: B023 - called before the next
            duels.add_metric(names := [project, known.new, known.other], known.wins.count or 0)
            if known.wins.value is not None:
                wins.add_metric(names, known.wins.value)
    return [serving, rate, ended, took, duels, wins]


_NO_DUELS: Sequence[DuelFigures] = ()


def _served(status: ProjectStatus) -> tuple[str | None, float | None]:
    """(the version that answers, its win rate at equal length); None, if that is the base, or not known."""
    generators = Generators(status.folder)
    version = _known(generators.champion, None)
    if version in (None, BASE):
        return None, None
    return version, _known(lambda: generators.card(str(version), promotions=()).metrics.length_controlled.value, None)


def _known(read: Callable[[], _T], otherwise: _T) -> _T:
    try:
        return read()
    except (RegistryError, OSError):  # the dashboard and `generators` say so
        return otherwise


def _gauge(name: str, help_text: str, labels: Sequence[str]) -> GaugeMetricFamily:
    return GaugeMetricFamily(name, help_text, labels=labels)
