"""A generator that learns, in CPU seconds and in wins over its base: ours beside TRL's DPO as it is, best-of-n, SFT and RLOO.

On one thread, in one run. The embedded model answers the demo's prompts, and the demo's annotator judges by the rule that it prints.
Three in ten prompts are held out. To these every way answers twice, beside the base's two answers, and wins by that rule and by a
reward model that saw nothing of what was learnt (trainer/aligning/held_back.py). TRL's DPO takes a few steps only, which tell its cost.
"""

import tempfile
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from rich.console import Console
from transformers import AutoModelForCausalLM

from benchmarks.row import Row
from benchmarks.trl_dpo import trl_step_seconds
from demo.annotator import choose
from demo.stack import REPOSITORY
from preference.generation.hardware import pick_dtype
from preference.generation.huggingface import HuggingFaceGenerator
from preference.generation.jobs import CUT, Adapter, Answer, WrittenAnswers, write_all
from preference.labelling.holdout import Holdout
from preference.labelling.pairs import PreferencePair
from preference.labelling.prompts import Prompt
from preference.models.pretrained import load_tokenizer, load_weights, locate, quiet_transformers
from preference.report_card.generator_card import GeneratorCard
from preference.report_card.shares import Share
from preference.reward_model.extractors import Extractors
from preference.reward_model.model import RewardModel
from preference.settings import Settings
from trainer.aligning.held_back import HeldBackJudge
from trainer.aligning.judge import AnsweredPrompts, measure
from trainer.aligning.writing import distance_to_base
from trainer.evaluation.intervals import share
from trainer.generator_training.objectives import ReadPair
from trainer.generator_training.online import explore
from trainer.generator_training.preferences import encode_pairs
from trainer.generator_training.recipe import DPO, RLOO
from trainer.generator_training.steps import train
from trainer.generator_training.top_layers import Tokens, TopLayers
from trainer.training.frozen_head import feature_recipe, train_head
from trainer.training.recipes import FROZEN

_MODEL_DIR = REPOSITORY / ".cache" / "bench-models"
_MAX_NEW_TOKENS = 48  # as in the demo
_NUM_PROMPTS = 144  # as many as people judge first in the demo
_HOLDOUT = Holdout(0.3)
_CANDIDATES = 7  # of best-of-n
_SFT_CANDIDATES = 8
_SFT_RATE = 6e-4
_RLOO_SECONDS = 300.0  # a busy machine has time for a few steps
_CPU = torch.device("cpu")
_TASK = 1  # of all comparisons: what was cut off is told apart by its text
T = TypeVar("T")


@dataclass(frozen=True)
class _Way:
    """How one of them answers the held-out prompts."""

    name: str
    answers: Sequence[WrittenAnswers]
    seconds: float  # that it learnt, or, without learning, that its answers took beyond the base's
    kl: float | None = None  # nats a token


def run(console: Console) -> list[Row]:
    """The rows of docs/benchmarks.md, "A generator that learns"."""
    quiet_transformers()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory(prefix="pairloop-bench-") as scratch:
        return _Bench(Path(scratch), console).rows()


class _Bench:
    def __init__(self, scratch: Path, console: Console) -> None:
        self._scratch = scratch
        self._say: Callable[[str], object] = console.print
        environ = {"MODEL_DIR": str(_MODEL_DIR), "MAX_NEW_TOKENS": str(_MAX_NEW_TOKENS), "DEVICE": "cpu", "TORCH_THREADS": "1"}
        self._settings = Settings.from_environ(environ)
        self._path = locate("embedded", _MODEL_DIR)
        self._tokenizer = load_tokenizer(self._path)
        self._dtype = pick_dtype("auto", _CPU)
        prompts = (REPOSITORY / "demo" / "prompts.txt").read_text(encoding="utf-8").splitlines()[:_NUM_PROMPTS]
        self._learning: list[Prompt] = [prompt for prompt in prompts if not _HOLDOUT.has(prompt)]
        self._held_out: list[Prompt] = [prompt for prompt in prompts if _HOLDOUT.has(prompt)]
        self._engine = HuggingFaceGenerator(self._settings)
        self._cut: set[tuple[int, str]] = set()  # answers that MAX_NEW_TOKENS cut off

    def rows(self) -> list[Row]:
        """All of them."""
        learning, _ = self._written(self._learning, seed=0)
        held_out, base_seconds = self._written(self._held_out, seed=1000)
        pairs, votes = _judged(self._learning, learning), _judged(self._held_out, held_out)
        self._say(f"{len(pairs)} comparisons to learn from, {len(self._held_out)} held-out prompts")
        extractor = Extractors(_MODEL_DIR, _CPU)(feature_recipe(FROZEN, base="embedded", path=self._path))
        champion, judge = train_head(pairs, FROZEN, extractor).model, HeldBackJudge(votes, extractor)
        read, read_seconds, layers = self._read(pairs)
        trl = trl_step_seconds(pairs, self._path, self._dtype)
        ours, way = self._learnt(layers, read, read_seconds)
        rows = [
            Row("a DPO step of four pairs", ours, "cpu-s", trl, f"TRL's defaults, {str(self._dtype).removeprefix('torch.')}"),
            Row("reading a pair once, before its first step", read_seconds / len(read), "cpu-s"),
        ]
        ways = [way, self._best_of(champion, base_seconds), self._fine_tuned(champion), self._rewarded(champion)]
        for way in ways:
            rows += self._compared(way, held_out, judge)
        return rows

    # The ways

    def _learnt(self, layers: TopLayers, read: Sequence[ReadPair], read_seconds: float) -> tuple[float, _Way]:
        """(CPU seconds a step, how it answers)"""
        num_wanted = -(-round(DPO.epochs * len(read)) // DPO.pairs_a_step)
        num_steps, seconds = _timed(lambda: train(layers, read, DPO, num_steps=num_wanted, seed=0))
        folder = self._folder("DPO")
        layers.save(folder)
        return seconds / num_steps, self._adapted(f"ours: DPO, {num_steps} steps", folder, read_seconds + seconds)

    def _best_of(self, champion: RewardModel, base_seconds: float) -> _Way:
        groups, seconds = self._written(self._held_out, seed=2000, num_answers=2 * _CANDIDATES)
        chosen, scoring = _timed(
            lambda: [
                WrittenAnswers.of([_best(champion, prompt, group.each[half::2]) for half in (0, 1)])
                for prompt, group in zip(self._held_out, groups, strict=True)
            ]
        )
        return _Way(f"best of {_CANDIDATES} by the reward model", chosen, seconds + scoring - base_seconds)

    def _fine_tuned(self, champion: RewardModel) -> _Way:
        """SFT on the best of eight answers to each prompt, by the same adapters."""
        groups, seconds = self._written(self._learning, seed=3000, num_answers=_SFT_CANDIDATES)
        layers = self._layers()

        def learn() -> None:
            best = [
                PreferencePair(prompt, _best(champion, prompt, group.each).text, "", task_id=_TASK)
                for prompt, group in zip(self._learning, groups, strict=True)
            ]
            texts = [layers.read(chosen) for chosen, _ in self._encoded(best)]
            optimizer = torch.optim.AdamW(layers.weights, lr=_SFT_RATE, weight_decay=0.0)
            for start in range(0, len(texts), 4):
                for text in texts[start : start + 4]:
                    (-layers.log_prob(text) / text.tokens.num_learnt / 4).backward()
                torch.nn.utils.clip_grad_norm_(layers.weights, 1.0)
                optimizer.step()
                optimizer.zero_grad()

        seconds += _timed(learn)[1]
        folder = self._folder("SFT")
        layers.save(folder)
        return self._adapted(f"SFT on the best of {_SFT_CANDIDATES}", folder, seconds)

    def _rewarded(self, champion: RewardModel) -> _Way:
        folder = self._folder("RLOO")
        model = load_weights(AutoModelForCausalLM, self._path, dtype=self._dtype)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            explored, seconds = _timed(
                lambda: explore(
                    model, self._tokenizer, self._learning, champion, RLOO, self._settings.generator, folder,
                    seed=0, most_seconds=_RLOO_SECONDS, say=self._say, clock=time.process_time,
                )
            )  # fmt: skip
        return self._adapted(f"RLOO, {explored.num_steps} steps", folder, seconds)

    # What they share

    def _written(
        self, prompts: Sequence[Prompt], *, seed: int, num_answers: int = 2, adapter: Adapter | None = None
    ) -> tuple[list[WrittenAnswers], float]:
        seeds = range(seed, seed + len(prompts))
        written, seconds = _timed(lambda: write_all(self._engine, prompts, seeds=seeds, num_answers=num_answers, adapter=adapter))
        self._cut |= {(_TASK, answer.text) for group in written for answer in group.each if answer.finish_reason in CUT}
        return written, seconds

    def _read(self, pairs: Sequence[PreferencePair]) -> tuple[list[ReadPair], float, TopLayers]:
        """(the pairs as the layers below the adapters give them, the CPU seconds that it took, the layers that learn)"""
        layers = self._layers()
        encoded = self._encoded(pairs)
        read, seconds = _timed(lambda: [ReadPair(*layers.read_two(*pair)) for pair in encoded])
        return read, seconds, layers

    def _layers(self) -> TopLayers:
        return TopLayers(load_weights(AutoModelForCausalLM, self._path, dtype=self._dtype), DPO, seed=0)

    def _encoded(self, pairs: Sequence[PreferencePair]) -> list[tuple[Tokens, Tokens]]:
        return encode_pairs(pairs, self._tokenizer, self._settings.generator, window=2048, cut=self._cut)

    def _adapted(self, name: str, folder: Path, seconds: float) -> _Way:
        """What the adapters in this folder answer."""
        adapter = Adapter(folder.name, folder)
        card = GeneratorCard(base="embedded", fingerprint=self._engine.fingerprint, probe=self._engine.take_probe(adapter))
        (folder / "card.json").write_text(card.to_json(), encoding="utf-8")
        answers, _ = self._written(self._held_out, seed=4000, adapter=adapter)
        return _Way(name, answers, seconds, distance_to_base(self._engine, self._held_out, answers, adapter))

    def _folder(self, name: str) -> Path:
        folder = self._scratch / name
        folder.mkdir()
        return folder

    def _compared(self, way: _Way, base: Sequence[WrittenAnswers], judge: HeldBackJudge) -> list[Row]:
        answered = AnsweredPrompts(self._held_out, way.answers, base)
        figures = measure(answered, judge, champion=None, judge_accuracy=Share(), kl=way.kl or 0.0)
        by_rule = share([
            float(np.mean([_wins(ours, theirs) for ours in new.answers for theirs in other.answers]))
            for new, other in zip(way.answers, base, strict=True)
        ])  # fmt: skip
        rows = [
            Row(f"{way.name}: wins by the rule", by_rule.value or 0.0, "", 0.5, "the base", by_rule.interval),
            Row(
                f"{way.name}: wins by a held-back reward model",
                figures.wins.value or 0.0,
                "",
                0.5,
                "the base",
                figures.wins.interval,
            ),
            Row(
                f"{way.name}: the same at equal length",
                figures.length_controlled.value or 0.0,
                "",
                0.5,
                "the base",
                figures.length_controlled.interval,
            ),
            Row(
                f"{way.name}: answers that repeat themselves",
                figures.answers.repeats or 0.0,
                "",
                figures.other.repeats,
                "the base",
            ),
            Row(f"{way.name}: to learn, or to choose", way.seconds, "cpu-s"),
        ]
        return rows if way.kl is None else [*rows, Row(f"{way.name}: distance to the base", way.kl, "nats a token")]


def _judged(prompts: Sequence[Prompt], written: Sequence[WrittenAnswers]) -> list[PreferencePair]:
    """The comparisons of two answers that the rule decides."""
    pairs = []
    for prompt, (left, right) in zip(prompts, (group.answers[:2] for group in written), strict=True):
        if side := choose(left, right):
            chosen, rejected = (left, right) if side == "left" else (right, left)
            pairs.append(PreferencePair(prompt, chosen, rejected, task_id=_TASK))
    return pairs


def _wins(ours: str, theirs: str) -> float:
    return {"left": 1.0, "right": 0.0, None: 0.5}[choose(ours, theirs)]


def _best(model: RewardModel, prompt: Prompt, answers: Sequence[Answer]) -> Answer:
    scores = model.score([prompt] * len(answers), [answer.text for answer in answers])
    return answers[int(scores.argmax())]


def _timed(work: Callable[[], T]) -> tuple[T, float]:
    """(what it gives, the CPU seconds that it took)"""
    began = time.process_time()
    result = work()
    return result, time.process_time() - began
