"""What an earlier project's champion gives to a new project's first versions: on judgements of the same kind, and of another kind.

The pairs are those of the accuracy benchmark (PREFERENCE_DATA). Of a source, half of the prompts make the earlier project; the new one
has so many pairs of the other half, and the rest is held out. Of another source, all pairs make the earlier project. Both heads, with
and without it, learn from the same pairs and are judged on the same ones. Repeats, each with another split, judge the same pairs again
and again, so they are not independent: intervals (95 %) are over prompts, of what each one's pairs gained in the mean of the repeats.
The form of the head was chosen on other splits of these pairs.
Features are kept in .cache/bench-features between runs, as nothing of their cost is measured here.
"""

import tempfile
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from rich.console import Console

from benchmarks.accuracy import sources_of
from benchmarks.kept_features import kept_extractor
from benchmarks.row import Row
from preference.labelling.pairs import PreferencePair
from preference.labelling.prompts import Prompt
from preference.models.pretrained import quiet_transformers
from preference.reward_model.feature_extractor import FeatureExtractor
from preference.reward_model.model import FrozenRewardModel
from trainer.evaluation.pair_rewards import score_pairs
from trainer.training.frozen_head import train_head
from trainer.training.recipes import FROZEN

_REPEATS = {30: 200, 100: 40, 300: 20}  # by the number of pairs of the new project
_SPLITS = 2026  # with the repeat's number, the seed of a split; the form of the head was chosen on those of the numbers alone
_LEAST_HELD_OUT = 60
_MOST_EARLIER = 600


def run(console: Console) -> list[Row]:
    """The gain in held-out accuracy for each two sources and each size."""
    sources = sources_of("transfer", console)
    if not sources:
        return []
    quiet_transformers()
    torch.set_num_threads(1)
    rows: list[Row] = []
    with tempfile.TemporaryDirectory(prefix="pairloop-bench-") as scratch:
        extractor = kept_extractor(Path(scratch))
        for name, pairs in sources.items():
            for earlier_name, others in sources.items():
                for size, repeats in _REPEATS.items():
                    if (outcome := _outcome(extractor, pairs, None if others is pairs else others, size, repeats)) is None:
                        continue
                    alone, mean, error = outcome
                    what = f"{name} after {earlier_name}, {size} pairs"
                    console.print(f"transfer: {what}: {mean:+.3f} ({mean - error:+.3f} to {mean + error:+.3f}) on {alone:.3f}")
                    rows.append(Row(f"gain by an earlier project, {what}", mean, "", interval=(mean - error, mean + error)))
                    rows.append(Row(f"accuracy with it, {what}", alone + mean, "", alone, "without"))
    return rows


def _outcome(
    extractor: FeatureExtractor, pairs: Sequence[PreferencePair], others: Sequence[PreferencePair] | None, size: int, repeats: int
) -> tuple[float, float, float] | None:  # fmt: skip
    """(accuracy without the earlier project, what it gains, half of that one's interval); None if there are too few pairs.

    `others`: those of the earlier project, if it is of another kind.
    """
    right: dict[Prompt, np.ndarray] = defaultdict(lambda: np.zeros(3))  # of each prompt: right without, right with, judged
    head = None if others is None else _head(others, extractor)  # the same in each split
    for seed in range(repeats):
        chance = np.random.default_rng((_SPLITS, seed))
        prompts = list(dict.fromkeys(pair.prompt for pair in pairs))
        rank = {prompt: place for place, prompt in enumerate(chance.permutation(np.array(prompts, object)))}
        ordered = sorted(pairs, key=lambda pair: rank[pair.prompt])
        half = len(ordered) // 2
        known = {pair.prompt for pair in ordered[:half]}
        new = [pair for pair in ordered[half:] if pair.prompt not in known]
        train = new[:size]
        trained_on = {pair.prompt for pair in train}
        held_out = [pair for pair in new[size:] if pair.prompt not in trained_on]
        if len(train) < size or len(held_out) < _LEAST_HELD_OUT:
            return None
        before = _head(ordered[:half], extractor) if head is None else head
        heads = [train_head(train, FROZEN, extractor, earlier=earlier).model for earlier in (None, before)]
        outcomes = [score_pairs(head, held_out).right for head in heads]
        for pair, *judged in zip(held_out, *outcomes, strict=True):
            right[pair.prompt] += (*judged, 1)
    alone, helped, judged = np.array(list(right.values())).T
    gain = float((helped - alone).sum() / judged.sum())
    error = 1.96 * float(np.sqrt((((helped - alone) - gain * judged) ** 2).sum())) / float(judged.sum())
    return float(alone.sum() / judged.sum()), gain, error


def _head(pairs: Sequence[PreferencePair], extractor: FeatureExtractor) -> torch.Tensor:
    """(size,) the weights of the earlier project's champion."""
    model = train_head(pairs[:_MOST_EARLIER], FROZEN, extractor).model
    assert isinstance(model, FrozenRewardModel)
    return model.head.weight
