"""What the dashboard shows of a project's generator, read from MODEL_DIR, whatever lies there."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from backend.dashboard.reading import ComparedShare, tried
from preference.formatting import per_cent
from preference.projects.generators import BASE, Generators
from preference.projects.promotions import Promotions, champions_before
from preference.projects.status import ProjectStatus
from preference.report_card.generator_card import AnswerFigures, GeneratorCard

_MOST_VERSIONS = 8
_LIKENESSES: list[tuple[str, Callable[[AnswerFigures], str]]] = [
    ("Repeat themselves", lambda answers: per_cent(answers.repeats)),
    ("Are cut off", lambda answers: per_cent(answers.cut)),
    ("Are unlike all others", lambda answers: per_cent(answers.distinct)),
    ("Refuse", lambda answers: per_cent(answers.refuses)),
    ("Letters, on average", lambda answers: "" if answers.num_letters is None else f"{answers.num_letters:.0f}"),
]


@dataclass(frozen=True)
class GeneratorView:
    """What the dashboard shows of one project's generator."""

    served: str  # the version that answers, or "base"
    before: str | None  # what a rollback would serve
    cards: list[GeneratorCard]  # latest first
    card: GeneratorCard | None  # of the served version, or of the latest if the base answers
    promotable: list[str]
    promotions: Mapping[str, Promotions]  # of each version

    @property
    def bars(self) -> list[ComparedShare]:
        """How often it wins, by whom and how."""
        if self.card is None:
            return []
        metrics = self.card.metrics
        bars = [
            ComparedShare("At equal length", metrics.length_controlled, "model dot"),
            ComparedShare("As written", metrics.wins, "model ring"),
            ComparedShare("As written, by the champion", metrics.champion_wins, "rule dot"),
        ]
        return [bar for bar in bars if bar.share.value is not None]

    @property
    def likenesses(self) -> list[tuple[str, str, str]]:
        """(what of its answers, how much, how much of those that it is compared with), in words."""
        if self.card is None:
            return []
        new, other = self.card.metrics.answers, self.card.metrics.other
        return [(name, write(new), write(other)) for name, write in _LIKENESSES if write(new)]

    def can_be_promoted(self, version: str) -> bool:
        """Whether a button may promote a version: it has its weights, and does not answer already."""
        return version in self.promotable and version != self.served


def read_generator_view(status: ProjectStatus, problems: list[str]) -> GeneratorView:
    """What is shown of a project's generator; `problems` gets a sentence for each thing that cannot be read."""
    generators = Generators(status.folder)
    no_names: list[str] = []
    no_promotions: dict[str, Promotions] = {}
    served = tried(problems, generators.champion, None) or BASE
    versions = tried(problems, generators.all, no_names)
    promotions = tried(problems, generators.promotions, no_promotions)
    before = tried(problems, lambda: champions_before(served, promotions)[-1:], no_names)
    cards = [_card(generators, version, promotions, problems) for version in reversed(versions[-_MOST_VERSIONS:])]
    known = [card for card in cards if card is not None]
    card = next((card for card in known if card.version == served), None)
    if card is None and served in versions[:-_MOST_VERSIONS]:
        card = _card(generators, served, promotions, problems)
    if card is None and served == BASE:
        card = next(iter(known), None)
    return GeneratorView(
        served,
        next((version for version in before if version in (BASE, *versions)), None),
        known,
        card,
        tried(problems, generators.promotable, no_names),
        promotions,
    )


def _card(
    generators: Generators, version: str, promotions: Mapping[str, Promotions], problems: list[str]
) -> GeneratorCard | None:  # fmt: skip
    return tried(problems, lambda: generators.card(version, promotions=promotions.get(version, ())), None)
