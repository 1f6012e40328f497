from dataclasses import replace

import pytest
import torch

from preference.generation.jobs import Answer, WrittenAnswers
from preference.report_card.generator_card import AnswerFigures, GeneratorFigures
from preference.report_card.shares import Share
from trainer.aligning.judge import (
    AnsweredPrompts,
    GeneratorVerdict,
    decide,
    figures_of,
    is_settled,
    looks,
    measure,
    repeats_itself,
)

GOOD = GeneratorFigures(
    num_prompts=60,
    wins=Share(0.75, (0.63, 0.84), 60),
    length_controlled=Share(0.7, (0.6, 0.8), 60),
    judge_accuracy=Share(0.7, (0.56, 0.81), 50),
    kl=0.056,
    answers=AnswerFigures(400.0, 0.05, 0.3, 1.0),
    other=AnswerFigures(380.0, 0.02, 0.25, 1.0),
)
LOOP = "Alright, let us look at it. " * 12
PROMPTS = [f"Tell me of {k}." for k in range(20)]


class ByText:
    """A reward model that goes by a word, or by length."""

    def __init__(self, word: str = "", *, by_length: bool = False) -> None:
        self._word, self._by_length = word, by_length

    def score(self, prompts: list[str], answers: list[str]) -> torch.Tensor:
        return torch.tensor([float(len(answer)) if self._by_length else float(self._word in answer) for answer in answers])


def written(*texts: str, reason: str = "stop") -> WrittenAnswers:
    return WrittenAnswers.of([Answer(text, reason) for text in texts])


def test_what_is_better_and_breaks_nothing_is_promoted() -> None:
    assert decide(GOOD, compared_with="base") == GeneratorVerdict(
        True, "it wins 0.700 against base at equal length (95 % interval 0.600 to 0.800), 0.750 as written"
    )


@pytest.mark.parametrize(
    ("figures", "reason"),
    [
        ({"num_prompts": 11}, "only 11 held-out prompts, 12 are needed"),
        ({"num_prompts": None}, "only 0 held-out prompts, 12 are needed"),
        ({"judge_accuracy": Share(count=3)}, "no held-out judgement says how good the reward model is that judges it"),
        (
            {"judge_accuracy": Share(0.6, (0.46, 0.73), 50)},
            "the reward model that judges it may be no better than a coin (0.600, 95 % interval 0.460 to 0.730)",
        ),
        (
            {"length_controlled": Share(0.55, (0.45, 0.65), 60)},
            "its win rate at equal length, 0.550, may be no more than one half (95 % interval 0.450 to 0.650)",
        ),
        (
            {"wins": Share(0.5, (0.4, 0.6), 60)},
            "its win rate, 0.500, may be no more than one half (95 % interval 0.400 to 0.600)",
        ),
        ({"wins": Share()}, "its win rate is not known"),
        ({"answers": AnswerFigures(400.0, 0.2, 0.3, 1.0)}, "20% of its answers repeat themselves, 2% before"),
        ({"answers": AnswerFigures(400.0, 0.05, 0.4, 1.0)}, "40% of its answers are cut off, 25% before"),
        ({"answers": AnswerFigures(400.0, 0.05, 0.3, 0.8)}, "80% of its answers are unlike all others, 100% before"),
        ({"kl": 0.379}, "it is 0.379 nats a token away from the base, 0.3 at most"),
        ({"kl": float("nan")}, "how far it is from the base is not known: its distance is no number"),
    ],
)
def test_what_is_not_is_kept_back_and_the_reason_says_why(figures: dict[str, object], reason: str) -> None:
    assert decide(replace(GOOD, **figures), compared_with="base") == GeneratorVerdict(False, reason)  # type: ignore[arg-type]


def test_half_of_the_prompts_are_looked_at_first_if_they_may_be_enough() -> None:
    assert looks(60) == [30, 60]
    assert looks(24) == [12, 24]
    assert looks(22) == [22]
    assert looks(0) == [0]


@pytest.mark.parametrize(
    ("figures", "is_enough"),
    [
        ({}, True),
        ({"length_controlled": Share(0.7, (0.45, 0.9), 30)}, False),
        ({"wins": Share(0.49, (0.3, 0.7), 30)}, True),
        ({"length_controlled": Share(0.49, (0.3, 0.7), 30)}, True),
        ({"judge_accuracy": Share(0.6, (0.46, 0.73), 50)}, True),
        ({"answers": AnswerFigures(400.0, 0.2, 0.3, 1.0)}, False),  # a few of half of the answers prove little
    ],
)
def test_the_first_look_is_enough_if_it_is_clear(figures: dict[str, object], is_enough: bool) -> None:
    assert is_settled(replace(GOOD, **figures), compared_with="base") is is_enough  # type: ignore[arg-type]


def test_an_answer_that_loops_repeats_itself() -> None:
    assert repeats_itself(LOOP)
    assert not repeats_itself("An ocean is larger: the biggest lakes would be small bays of one.")
    assert not repeats_itself("Yes.") and not repeats_itself("")


def test_answers_are_counted_by_what_is_wrong_with_them() -> None:
    figures = figures_of([written("One thing.", LOOP), written("one thing", reason="length"), WrittenAnswers([], refused="no")])
    refusing = figures_of([written("I'm sorry, but I can't.", "Of course."), written("I can.", "You cannot.")])

    assert figures.repeats == pytest.approx(1 / 3, abs=1e-3)
    assert figures.cut == pytest.approx(1 / 3, abs=1e-3)
    assert figures.distinct == pytest.approx(1 / 3, abs=1e-3)  # "One thing." and "one thing" are alike
    assert (figures.refuses, refusing.refuses) == (0.0, 0.25)
    assert figures_of([]) == AnswerFigures()


def test_a_generator_that_only_learnt_to_be_long_is_kept_back() -> None:
    """The reward hacking that is met first: the judge likes length, so whoever is longer wins as often as one wishes."""
    long = [written(f"{p} word {'more ' * (40 + k % 9)}", f"{p} word {'more ' * (44 - k % 5)}") for k, p in enumerate(PROMPTS)]
    short = [written(f"{p} word {'less ' * (10 + k % 7)}", f"{p} word {'less ' * (13 - k % 4)}") for k, p in enumerate(PROMPTS)]

    metrics = measure(
        AnsweredPrompts(PROMPTS, long, short), ByText(by_length=True), champion=None, judge_accuracy=GOOD.judge_accuracy, kl=0.05  # type: ignore[arg-type]
    )  # fmt: skip

    assert metrics.wins.value == 1.0
    verdict = decide(replace(metrics, answers=GOOD.answers, other=GOOD.other), compared_with="base")
    assert not verdict.promoted and verdict.reason.startswith("its win rate at equal length, ")


def test_a_generator_that_learnt_what_people_like_is_promoted() -> None:
    new = [written(f"{p} kind words {k}", f"{p} kind deeds {k * k + 100}") for k, p in enumerate(PROMPTS)]
    other = [written(f"{p} dull words {k}", f"{p} dull deeds {k * k + 100}") for k, p in enumerate(PROMPTS)]

    metrics = measure(
        AnsweredPrompts(PROMPTS, new, other), ByText("kind"), champion=ByText("dull"), judge_accuracy=GOOD.judge_accuracy, kl=0.05  # type: ignore[arg-type]
    )  # fmt: skip

    assert (metrics.wins.value, metrics.champion_wins.value, metrics.num_prompts) == (1.0, 0.0, 20)
    assert metrics.length_controlled.value is not None and metrics.length_controlled.value > 0.9
    assert decide(metrics, compared_with="g1").reason.startswith("it wins 0.9")


def test_a_generator_that_loops_is_kept_back_whatever_it_wins() -> None:
    new = [written(f"{p} kind {LOOP}", f"kind {p} {LOOP}") for p in PROMPTS]
    other = [written(f"{p} dull words to be read", f"dull {p} words to be read") for p in PROMPTS]

    metrics = measure(
        AnsweredPrompts(PROMPTS, new, other), ByText("kind"), champion=None, judge_accuracy=GOOD.judge_accuracy, kl=0.05  # type: ignore[arg-type]
    )  # fmt: skip

    assert metrics.wins.value == 1.0
    controlled = replace(metrics, length_controlled=GOOD.length_controlled)
    assert decide(controlled, compared_with="base").reason == "100% of its answers repeat themselves, 0% before"
