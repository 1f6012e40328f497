"""Whether a reward model finds what the generator writes in 8 bits worse than what it writes in float32.

The reward model is the default recipe's, from all pairs of the accuracy benchmark (PREFERENCE_DATA). The prompts are the demo's. Each format
writes two answers to each, and each is compared with both of the other format: a prompt's share of wins is the mean of four, a tie half.
Beside it the same of float32 with other seeds, where only luck makes a difference. Intervals (95 %) are over prompts.
"""

import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rich.console import Console

from benchmarks.accuracy import sources_of
from benchmarks.kept_features import kept_extractor
from benchmarks.row import Row
from preference.generation.huggingface import HuggingFaceGenerator
from preference.generation.jobs import write_all
from trainer.evaluation.pair_rewards import Scores
from trainer.training.frozen_head import train_head
from trainer.training.recipes import FROZEN

_NUM_TOKENS = 48
Array = NDArray[np.float64]


def run(make: Callable[..., HuggingFaceGenerator], prompts: Sequence[str], console: Console) -> list[Row]:
    """A row for int8, and one for luck. `make`: a generator of a number format, with `max_new_tokens`."""
    if not (sources := sources_of("generation", console)):
        return []
    with tempfile.TemporaryDirectory(prefix="pairloop-bench-") as scratch:
        pairs = [pair for source in sources.values() for pair in source]
        judge = train_head(pairs, FROZEN, kept_extractor(Path(scratch))).model
        exact, eight = (make(dtype, max_new_tokens=_NUM_TOKENS) for dtype in ("float32", "int8"))
        rewards = [
            _rewards(judge, generator, prompts, first_seed=seed) for generator, seed in ((exact, 0), (eight, 0), (exact, 10_000))
        ]
    rows = []
    for name, others in (("int8", rewards[1]), ("float32 with other seeds", rewards[2])):
        wins = ((others[:, :, None] > rewards[0][:, None]) + 0.5 * (others[:, :, None] == rewards[0][:, None])).mean((1, 2))
        mean, error = float(wins.mean()), 1.96 * float(wins.std(ddof=1)) / len(wins) ** 0.5
        console.print(f"wins of {name} over float32: {mean:.3f} ({mean - error:.3f} to {mean + error:.3f}), {len(wins)} prompts")
        rows.append(Row(f"wins over float32 by a reward model, {name}", mean, "", interval=(mean - error, mean + error)))
    return rows


def _rewards(judge: Scores, generator: HuggingFaceGenerator, prompts: Sequence[str], *, first_seed: int) -> Array:
    """(num_prompts, 2) of two answers to each."""
    written = write_all(generator, prompts, seeds=range(first_seed, first_seed + len(prompts)))
    answers = [text for writing in written for text in writing.answers]
    scored = judge.score([prompt for prompt in prompts for _ in range(2)], answers)
    return np.asarray(scored, np.float64).reshape(-1, 2)
