"""All that the dashboard shows of one project, read from MODEL_DIR, whatever lies there."""

from collections.abc import Mapping
from dataclasses import dataclass

from backend.dashboard.generator_view import GeneratorView, read_generator_view
from backend.dashboard.reading import ComparedShare, tried
from preference.duels.figures import DuelFigures, read_duels
from preference.duels.on_trial import trial_of, what_people_say
from preference.formatting import short
from preference.projects.annotator_names import read_names
from preference.projects.promotions import Promotions, champions_before
from preference.projects.status import ProjectStatus
from preference.projects.versions import Versions
from preference.report_card.card import ReportCard
from preference.report_card.cautions import cautions, headline
from preference.report_card.certificate import Standing
from preference.report_card.certificate_chart import certificate_chart
from preference.report_card.charts import Chart, charts_of
from preference.report_card.figures import RuleFigures, SuggestionEffect
from preference.report_card.raters import RaterFigures, read_raters
from preference.report_card.shares import Share
from preference.setting_groups import StudioSettings

_MOST_ROUNDS, _MOST_SUGGESTERS = 8, 15
_RULES = [
    ("longer", "longer_wins", "The longer answer wins"),
    ("shorter", "shorter_wins", "The shorter answer wins"),
    ("style", "style_only", "Style alone decides"),
]


@dataclass(frozen=True)
class ProjectView:
    """What the dashboard shows of one project."""

    status: ProjectStatus
    link: str
    before: str | None  # the version that a rollback would serve
    card: ReportCard | None  # of the champion, or of the latest version if there is none
    rounds: list[ReportCard]  # latest first
    charts: list[Chart]
    raters: list[RaterFigures]  # that are no people
    generator: GeneratorView
    duels: list[DuelFigures]  # of two generators each
    people_say: list[str]  # the same in words
    names: dict[str, str]  # of annotators, by their numbers

    @property
    def headline(self) -> str:
        """The card's accuracy as far as there is evidence for it."""
        return headline(self.card) if self.card else ""

    @property
    def cautions(self) -> list[str]:
        """What to know before trusting the card's accuracy."""
        return cautions(self.card, names=self.names) if self.card else []

    @property
    def bars(self) -> list[ComparedShare]:
        """The card's accuracy beside what it is to be compared with."""
        raters = [ComparedShare(f"{rater.name}, as a judge", rater.agreement, "other ring") for rater in self.raters]
        bars = [*(_comparison(self.card) if self.card else []), *raters]
        return [bar for bar in bars if bar.share.value is not None]

    @property
    def latest(self) -> ReportCard | None:
        """The card of the newest round, promoted or not: it knows all judgements, and how the champion's suggestions fared."""
        return self.rounds[0] if self.rounds else self.card

    @property
    def followed(self) -> list[tuple[str, Share]]:
        """How often suggestions are followed, in all and by the version that suggested; nothing if no share is known."""
        followed = self.latest.report.suggestions if self.latest else None
        if followed is None:
            return []
        versions = list(followed.versions.items())[-_MOST_SUGGESTERS:]
        shares = [("", followed), *((f"suggested by: {version}", share) for version, share in versions)]
        return shares if any(share.value is not None for _, share in shares) else []

    @property
    def effect(self) -> SuggestionEffect | None:
        """Judgements with a suggestion beside those without; None unless both are known."""
        effect = self.latest.report.suggestion_effect if self.latest else None
        return effect if effect and effect.with_suggestion and effect.without else None

    @property
    def warning(self) -> str:
        """The card's warning that suggestions move people, if it has one."""
        effect = self.latest.report.suggestion_effect if self.latest else None
        return effect.warning or "" if effect else ""


def read_project_view(
    status: ProjectStatus, studio: StudioSettings, problems: list[str], *, shows_names: bool = True
) -> ProjectView:  # fmt: skip
    """What is shown of a project; `problems` gets a sentence for each thing that cannot be read."""
    num_known, status = len(status.problems), status.with_versions()
    problems += status.sentences[num_known:]
    read, versions = Versions(status.folder), status.versions
    no_charts: list[Chart] = []
    no_promotions: dict[str, Promotions] = {}
    promotions = tried(problems, read.promotions, no_promotions)
    cards = [_card(read, version, promotions, problems) for version in reversed(versions[-_MOST_ROUNDS:])]
    rounds = [card for card in cards if card is not None]
    champion = next((card for card in rounds if card.version == status.champion), None)
    if champion is None and status.champion in versions[:-_MOST_ROUNDS]:
        champion = _card(read, status.champion or "", promotions, problems)
    card = champion or (None if status.champion else next(iter(rounds), None))
    nothing: list[str] = []
    no_raters: list[RaterFigures] = []
    no_duels: list[DuelFigures] = []
    no_names: dict[str, str] = {}
    duels = tried(problems, lambda: list(read_duels(status.folder.path)), no_duels)
    generator = read_generator_view(status, problems)
    before = tried(problems, lambda: champions_before(status.champion, promotions)[-1:], nothing)
    return ProjectView(
        status,
        f"{studio.page}/projects/{status.project_id}",
        next((version for version in before if version in versions), None),
        card,
        rounds,
        tried(problems, lambda: _charts(card, next(iter(rounds), None), status.certified), no_charts),
        tried(problems, lambda: read_raters(status.folder.path), no_raters),
        generator,
        duels,
        tried(problems, lambda: what_people_say(trial_of(generator.served, generator.promotions, duels), duels), nothing),
        tried(problems, lambda: read_names(status.folder), no_names) if shows_names else no_names,
    )


def _card(versions: Versions, version: str, promotions: Mapping[str, Promotions], problems: list[str]) -> ReportCard | None:
    known = promotions.get(version, ())
    card = tried(problems, lambda: versions.card(version, promotions=known), None)
    if card is not None and card.damage:
        problems.append(card.damage)
    return card


def _charts(card: ReportCard | None, newest: ReportCard | None, certified: Standing | None) -> list[Chart]:
    if card is None:
        return []
    chart = certificate_chart(certified.certificate) if certified and certified.certificate.version == card.version else None
    return [*charts_of(card, newest=newest), *([chart] if chart else [])]


def _comparison(card: ReportCard) -> list[ComparedShare]:
    metrics, people = card.metrics, card.report.people
    bars = [ComparedShare("This version", Share(metrics.accuracy, metrics.interval), "model dot")]
    if (control := card.report.control_accuracy) and control.this:
        bars.append(ComparedShare("This version, on comparisons without a suggestion", control.this, "model ring"))
    if metrics.champion is not None:
        bars.append(
            ComparedShare(
                f"The champion before it, {short(card.compared_with or '')}", Share(value=metrics.champion), "model ring"
            )
        )
    if people and people.agreement:
        bars.append(ComparedShare("Two annotators agree", people.agreement, "people dot"))
    for name, figure, sentence in _RULES:
        bars.append(
            ComparedShare(sentence, metrics.baselines.get(name) or RuleFigures(value=getattr(metrics, figure)), "rule dot")
        )
    return bars
