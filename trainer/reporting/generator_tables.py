"""A generator version's figures as tables of text for the terminal. What is not known has no row."""

from rich.console import Console

from preference.commands.cells import Section
from preference.commands.tables import print_sentence
from preference.formatting import between, per_cent
from preference.report_card.generator_card import AnswerFigures, GeneratorCard
from preference.report_card.shares import Share
from trainer.reporting.tables import print_sections


def generator_sections(card: GeneratorCard) -> list[Section]:
    """The tables of a card that have a row."""
    metrics = card.metrics
    wins = [
        ("at equal length", metrics.length_controlled),
        ("as written", metrics.wins),
        ("as written, by the champion", metrics.champion_wins),
        ("the reward model that judged is right", metrics.judge_accuracy),
    ]
    new, other = (dict(_likenesses(answers)) for answers in (metrics.answers, metrics.other))
    likenesses = [(name, value, other[name]) for name, value in new.items() if value]
    if metrics.kl is not None:
        likenesses.append(("nats a token from the base (KL)", f"{metrics.kl:.3f}", ""))
    if card.scaled_by is not None:
        likenesses.append(("adapters, multiplied to be near enough", f"times {card.scaled_by:.2f}", ""))
    sections = [
        Section(
            "How often it wins", ("how", "share"), [(name, _share(share)) for name, share in wins if share.value is not None]
        ),
        Section("What its answers are like", ("answers", "this version", card.compared_with or "before"), likenesses),
    ]
    return [section for section in sections if section.rows]


def print_generator_card(card: GeneratorCard, console: Console | None = None) -> None:
    """Prints a card's verdict and tables."""
    console = console or Console(highlight=False)
    verdict = "promoted" if card.promoted else "kept back"
    print_sentence(f"{card.version} of project {card.project_id}, {verdict}: {card.reason}", console)
    if card.answer_prefix:
        print_sentence(f"Its answers go on from {card.answer_prefix.strip()!r}, which is no part of them.", console)
    print_sections(generator_sections(card), console)


def _likenesses(answers: AnswerFigures) -> list[tuple[str, str]]:
    return [
        ("repeat themselves", per_cent(answers.repeats)),
        ("are cut off", per_cent(answers.cut)),
        ("are unlike all others", per_cent(answers.distinct)),
        ("refuse", per_cent(answers.refuses)),
        ("letters, on average", "" if answers.num_letters is None else f"{answers.num_letters:.0f}"),
    ]


def _share(share: Share) -> str:
    return per_cent(share.value) + (f" (95 % interval {between(share.interval)})" if share.interval else "")
