"""All that the dashboard shows of one project, read from MODEL_DIR, whatever lies there."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

from backend.dashboard.charts import Chart, learning_chart, length_chart, reliability_chart, versions_chart
from backend.dashboard.formatting import short
from backend.dashboard.loop import Loop, read_loop
from backend.dashboard.report_card import Report, ReportCard, Share, read_card
from backend.dashboard.suggestion_figures import Effect, effect_in, shares_in, warning_in
from backend.monitoring.project_states import Standing
from preference.errors import RegistryError
from preference.projects.folder import ProjectFolder
from preference.projects.training_status import read_project
from preference.projects.versions import Versions
from preference.settings import Settings

_SHOWN_ROUNDS, _SHOWN_SHARES = 8, 16
_RULES = [
    ("longer", "longer_wins", "The longer answer wins"),
    ("shorter", "shorter_wins", "The shorter answer wins"),
    ("style", "style_only", "Style alone decides"),
]
_T = TypeVar("_T")


@dataclass(frozen=True)
class Bar:
    """One row of the comparison: who, how accurate, and with which mark it is drawn."""

    name: str
    share: Share
    look: str


@dataclass(frozen=True)
class Shown:
    """All that is shown of one project."""

    id: int
    name: str
    link: str
    loop: Loop
    champion: str | None
    before: str | None  # the version that a rollback would serve
    versions: list[str]
    card: ReportCard | None  # of the champion, or of the latest version where there is none
    rounds: list[ReportCard]  # latest first
    charts: list[Chart]

    @property
    def bars(self) -> list[Bar]:
        """The card's accuracy beside what it is to be compared with."""
        return _comparison(self.card) if self.card else []

    @property
    def latest(self) -> ReportCard | None:
        """The card of the newest round, promoted or not: it knows all that people said, and how the champion's suggestions did."""
        return self.rounds[0] if self.rounds else self.card

    @property
    def followed(self) -> list[tuple[str, Share]]:
        """How often suggestions are followed, by what the card tells apart."""
        return list(islice(shares_in(self.latest.report.suggestions), _SHOWN_SHARES)) if self.latest else []

    @property
    def effect(self) -> Effect | None:
        """Judgements with a suggestion beside those without."""
        return effect_in(self._of_suggestions)

    @property
    def warning(self) -> str:
        """The card's warning that suggestions move people, if it has one."""
        return warning_in(self._of_suggestions)

    @property
    def _of_suggestions(self) -> dict[str, Any]:
        report = self.latest.report if self.latest else Report()
        return {"effect": report.suggestion_effect, "followed": report.suggestions}


def read_shown(standing: Standing, settings: Settings, problems: list[str]) -> Shown:
    """What is shown of a project; `problems` gets a sentence for each thing that cannot be read."""
    model_dir = settings.model_dir
    folder = ProjectFolder(model_dir, standing.project_id)
    nothing: list[str] = []
    no_charts: list[Chart | None] = []
    versions = tried(problems, Versions(folder).all, nothing)
    cards = [_card(folder, version, problems) for version in reversed(versions[-_SHOWN_ROUNDS:])]
    rounds = [card for card in cards if card is not None]
    champion = next((card for card in rounds if card.version == standing.champion), None)
    if champion is None and standing.champion in versions[:-_SHOWN_ROUNDS]:
        champion = _card(folder, standing.champion or "", problems)
    elif standing.champion is not None and standing.champion not in versions:
        problems.append(f"The champion {standing.champion!r} is not among the versions; roll back, or promote another one.")
    card = champion or (None if standing.champion else next(iter(rounds), None))
    return Shown(
        standing.project_id,
        name_of(standing, model_dir),
        f"{settings.studio.page}/projects/{standing.project_id}",
        read_loop(folder, model_dir, filling=standing.filling),
        standing.champion,
        tried(problems, lambda: _before(folder, versions), None),
        versions,
        card,
        rounds,
        [chart for chart in tried(problems, lambda: _charts(card, rounds), no_charts) if chart is not None],
    )


def name_of(standing: Standing, model_dir: Path) -> str:
    """A project's title, or its number."""
    title = read_project(ProjectFolder(model_dir, standing.project_id)).get("title")
    return title.strip()[:80] if isinstance(title, str) and title.strip() else f"Project {standing.project_id}"


def tried(problems: list[str], read: Callable[[], _T], otherwise: _T) -> _T:
    """What is read; where something in MODEL_DIR is damaged, or away, one sentence says so."""
    try:
        return read()
    except RegistryError as error:
        problems.append(str(error))
    except OSError as error:
        problems.append(f"{error.filename} cannot be read ({error.strerror}).")
    except (ValueError, TypeError, KeyError, AttributeError, ArithmeticError, RecursionError) as error:
        problems.append(f"Something in MODEL_DIR is not what it should be ({type(error).__name__}).")
    return otherwise


def _card(folder: ProjectFolder, version: str, problems: list[str]) -> ReportCard | None:
    return tried(problems, lambda: read_card(Versions(folder).card(version), version), None)


def _before(folder: ProjectFolder, versions: Sequence[str]) -> str | None:
    before = Versions(folder).champion_before() if Versions(folder).champion() is not None else None
    return before if before in versions else None


def _charts(card: ReportCard | None, rounds: Sequence[ReportCard]) -> list[Chart | None]:
    if card is None:
        return []
    newest = rounds[0] if rounds else card  # which knows of all before it
    rows = {row.version: row for row in newest.report.versions} | {newest.version: newest.row}
    people = card.report.people
    return [
        versions_chart(list(rows.values()), people.agreement if people else None),
        reliability_chart(card.report.reliability),
        length_chart(card.report.length),
        learning_chart(card.report.learning_curve, card.metrics),
    ]


def _comparison(card: ReportCard) -> list[Bar]:
    metrics, people = card.metrics, card.report.people
    bars = [Bar("This version", Share(value=metrics.accuracy, interval=metrics.interval), "model dot")]
    if (control := card.report.control_accuracy) and control.this:
        bars.append(Bar("This version, where nothing was suggested", control.this, "model ring"))
    if metrics.champion is not None:
        bars.append(
            Bar(f"The champion before it, {short(card.compared_with or '')}", Share(value=metrics.champion), "model ring")
        )
    if people and people.agreement:
        bars.append(Bar("Two annotators agree", people.agreement, "people dot"))
    for name, figure, sentence in _RULES:
        bars.append(Bar(sentence, metrics.baselines.get(name) or Share(value=getattr(metrics, figure)), "rule dot"))
    return [bar for bar in bars if bar.share.value is not None]
