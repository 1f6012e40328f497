"""All that the dashboard shows of one project, read from MODEL_DIR, whatever lies there."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, TypeVar

from backend.dashboard.charts import Chart, learning_chart, length_chart, reliability_chart, versions_chart
from backend.dashboard.formatting import short
from backend.dashboard.report_card import Report, ReportCard, Share, read_card
from backend.dashboard.suggestion_figures import Effect, effect_in, shares_in, warning_in
from preference.errors import RegistryError
from preference.projects.promotions import Promotions, champions_before
from preference.projects.status import ProjectStatus
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
class ProjectView:
    """All that is shown of one project."""

    status: ProjectStatus
    link: str
    before: str | None  # the version that a rollback would serve
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


def read_project_view(status: ProjectStatus, settings: Settings, problems: list[str]) -> ProjectView:
    """What is shown of a project; `problems` gets a sentence for each thing that cannot be read."""
    num_known, status = len(status.problems), status.with_versions()
    problems += status.sentences[num_known:]
    read, versions = Versions(status.folder), status.versions
    no_charts: list[Chart | None] = []
    no_promotions: dict[str, Promotions] = {}
    promotions = tried(problems, read.promotions, no_promotions)
    cards = [_card(read, version, promotions, problems) for version in reversed(versions[-_SHOWN_ROUNDS:])]
    rounds = [card for card in cards if card is not None]
    champion = next((card for card in rounds if card.version == status.champion), None)
    if champion is None and status.champion in versions[:-_SHOWN_ROUNDS]:
        champion = _card(read, status.champion or "", promotions, problems)
    card = champion or (None if status.champion else next(iter(rounds), None))
    nothing: list[str] = []
    before = tried(problems, lambda: champions_before(status.champion, promotions)[-1:], nothing)
    return ProjectView(
        status,
        f"{settings.studio.page}/projects/{status.project_id}",
        next((version for version in before if version in versions), None),
        card,
        rounds,
        [chart for chart in tried(problems, lambda: _charts(card, rounds), no_charts) if chart is not None],
    )


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


def _card(versions: Versions, version: str, promotions: Mapping[str, Promotions], problems: list[str]) -> ReportCard | None:
    known = promotions.get(version, ())
    return tried(problems, lambda: read_card(versions.card(version, promotions=known), version), None)


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
