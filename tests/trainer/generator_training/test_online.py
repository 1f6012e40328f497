"""RLOO and GRPO by themselves: which prompts are answered when, how long it takes, and what remains of it after a kill."""

import logging
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from itertools import count
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

from preference.errors import TrainingError
from preference.labelling.prompts import Prompt
from preference.models.pretrained import load_tokenizer, load_weights
from preference.settings import Settings
from tests.conftest import SettingsFactory
from tests.support.tolerance import assert_same_weights
from trainer.generator_training.checkpoints import Checkpoints
from trainer.generator_training.online import Explored, explore
from trainer.generator_training.recipe import RLOO, AlignRecipe

pytestmark = pytest.mark.filterwarnings("ignore")  # TRL's and accelerate's own

QUICK = replace(RLOO, learning_rate=1e-3, epochs=2.0, answers_a_prompt=2)
PROMPTS = [f"Tell me of thing {number}." for number in range(10)]  # five steps, in the third of which the second pass begins


class LikesVowels:
    """Rewards for answers with many vowels; remembers what it was asked, a step after the other."""

    def __init__(self) -> None:
        self.prompts: list[list[Prompt]] = []
        self.answers: list[str] = []

    def score(self, prompts: Sequence[Prompt], answers: Sequence[str]) -> torch.Tensor:
        self.prompts.append(list(prompts))
        self.answers += answers
        return torch.tensor([sum(answer.count(vowel) for vowel in "aeiou") for answer in answers], dtype=torch.float32)


class Lesson:
    """One training, and what it reported and said."""

    def __init__(self, base: Path, settings: Settings, folder: Path) -> None:
        self.base, self.settings, self.folder = base, settings, folder
        self.kept = folder / "kept"
        self.said: list[str] = []
        self.reported: dict[int, Mapping[str, float]] = {}

    def run(
        self,
        judge: LikesVowels,
        *,
        recipe: AlignRecipe = QUICK,
        most_seconds: float = 1e6,
        clock: Callable[[], float] = lambda: 0.0,
    ) -> Explored:
        model = load_weights(AutoModelForCausalLM, str(self.base), dtype=torch.float32)
        self.folder.mkdir(exist_ok=True)
        return explore(
            model, load_tokenizer(str(self.base)), PROMPTS, judge, recipe, self.settings.generator, self.folder, seed=3,
            most_seconds=most_seconds, say=self.said.append, clock=clock, checkpoints=Checkpoints(self.kept, every_seconds=0),
            report=self.reported.__setitem__,
        )  # fmt: skip

    @property
    def weights(self) -> dict[str, torch.Tensor]:
        return load_file(self.folder / "adapter_model.safetensors")


class Killed(BaseException):
    """SIGKILL, as far as what lies on the disk goes."""


def ticks(seconds: float, *, killed_at_step: int = 0) -> Callable[[], float]:
    """A clock that is asked when the training begins and once a step, and is so much later each time."""
    numbers = count()

    def clock() -> float:
        if (step := next(numbers)) == killed_at_step and killed_at_step:
            raise Killed
        return seconds * step

    return clock


@pytest.fixture
def lesson(tiny_chat_base: Path, settings_for: SettingsFactory, tmp_path: Path) -> Callable[[str], Lesson]:
    settings = settings_for(max_new_tokens=8, temperature=1.0)
    return lambda name: Lesson(tiny_chat_base, settings, tmp_path / name)


@pytest.mark.parametrize("method", ["rloo", "grpo"])
def test_killed_it_goes_on_as_if_nothing_had_been(lesson: Callable[[str], Lesson], method: str) -> None:
    recipe = replace(QUICK, method=method)
    whole, undisturbed = LikesVowels(), lesson("undisturbed")
    assert undisturbed.run(whole, recipe=recipe).num_steps == 5
    first, second, killed = LikesVowels(), LikesVowels(), lesson("killed")

    with pytest.raises(Killed):
        killed.run(first, recipe=recipe, clock=ticks(1, killed_at_step=3))
    ended = killed.run(second, recipe=recipe)

    assert (ended.num_steps, ended.num_wanted) == (5, 5)
    assert second.prompts == whole.prompts[2:] and first.prompts == whole.prompts[:3]
    answers = first.answers[: -len(first.prompts[-1])] + second.answers
    differ = [own != other for own, other in zip(answers, whole.answers, strict=True)]
    assert sum(differ) <= max(1, len(differ) // 20), "the same random numbers, so the same answers but for roundings"
    assert_same_weights(killed.weights, undisturbed.weights)
    assert sorted(killed.reported) == [1, 2, 3, 4, 5]
    assert len(killed.said) == 1, "the budget is said once"
    assert {path.suffix for path in killed.folder.iterdir()} == {"", ".json", ".safetensors"}


def test_each_pass_over_the_prompts_has_an_order_of_its_own(lesson: Callable[[str], Lesson]) -> None:
    judge = LikesVowels()
    lesson("one").run(judge)

    answered = [prompt for of_step in judge.prompts for prompt in of_step[::2]]
    assert [of_step[::2] for of_step in judge.prompts] == [of_step[1::2] for of_step in judge.prompts], "two answers to each"
    assert set(answered[:10]) == set(answered[10:]) == set(PROMPTS)
    assert answered[:10] != answered[10:] and answered[:10] != PROMPTS


def test_what_trl_logs_of_each_step_is_reported(lesson: Callable[[str], Lesson], caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, logger="pairloop.aligning")
    training = lesson("one")
    training.run(LikesVowels(), clock=ticks(20))

    assert list(training.reported) == [1, 2, 3, 4, 5]
    for figures in training.reported.values():
        assert {"reward", "reward_std", "kl", "loss", "grad_norm", "learning_rate", "completions/mean_length"} <= set(figures)
        assert figures["learning_rate"] == QUICK.learning_rate
    lines = [message for message in caplog.messages if message.startswith("aligning: step")]
    assert [line.partition(", reward")[0] for line in lines] == ["aligning: step 2 of 5", "aligning: step 4 of 5"]
    assert lines[-1].endswith(", about 20 s to go")


def test_the_time_is_kept_to_and_what_was_decided_holds_after_a_kill(lesson: Callable[[str], Lesson]) -> None:
    recipe, training = replace(QUICK, epochs=4.0), lesson("one")
    with pytest.raises(Killed):
        training.run(LikesVowels(), recipe=recipe, most_seconds=60, clock=ticks(10, killed_at_step=3))
    (line,) = training.said
    budget, _, memory = line.partition("; ")
    assert (
        budget
        == "learning by rewards: 6 steps of 10, which would take longer than ALIGN_MINUTES, 10.0 s a step (measured): about 60 s"
    )
    assert re.fullmatch(r"the process has taken up to (\d{3} MB|\d+\.\d GB) so far", memory), "torch alone takes a hundred"

    ended = training.run(LikesVowels(), recipe=recipe, most_seconds=600, clock=ticks(10))

    assert (ended.num_steps, ended.num_wanted) == (6, 10)


def test_steps_that_take_longer_than_the_first_end_with_the_time(
    lesson: Callable[[str], Lesson], caplog: pytest.LogCaptureFixture
) -> None:
    moments = iter([0.0, 10.0, 41.0])

    ended = lesson("one").run(LikesVowels(), most_seconds=60, clock=lambda: next(moments))

    assert ended.num_steps == 2
    assert "the time is up after 2 of 5 steps" in caplog.messages


def test_too_little_time_is_said_after_the_first_step(lesson: Callable[[str], Lesson]) -> None:
    with pytest.raises(TrainingError, match=r"^A step takes 40.0 s, so 60 s have room for 1 of 5 steps; raise ALIGN_MINUTES"):
        lesson("one").run(LikesVowels(), most_seconds=60, clock=ticks(40))


def test_one_that_had_done_all_its_steps_does_none_again(lesson: Callable[[str], Lesson]) -> None:
    training, judge = lesson("one"), LikesVowels()
    training.run(LikesVowels())
    weights = training.weights
    (training.folder / "adapter_model.safetensors").unlink()

    assert training.run(judge).num_steps == 5

    assert judge.prompts == []
    assert_same_weights(training.weights, weights)


def test_a_damaged_checkpoint_costs_time_and_nothing_else(
    lesson: Callable[[str], Lesson], caplog: pytest.LogCaptureFixture
) -> None:
    training, judge = lesson("one"), LikesVowels()
    with pytest.raises(Killed):
        training.run(LikesVowels(), clock=ticks(1, killed_at_step=3))
    training.kept.write_bytes(training.kept.read_bytes()[:1000])

    assert training.run(judge).num_steps == 5

    assert len(judge.prompts) == 5
    assert any(message.endswith("the training begins anew") for message in caplog.messages)
