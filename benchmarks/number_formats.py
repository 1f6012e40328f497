"""A frozen base in bfloat16 beside float32: what reading answers costs, and whether versions judge as well.

The pairs are those of the `accuracy` benchmark; twelve splits by prompt, the same for both formats.
"""

import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from rich.console import Console

from benchmarks.accuracy import Lab, Outcomes, sources_of, splits
from benchmarks.row import Bar, Row
from preference.labelling.pairs import PreferencePair
from preference.models.number_formats import ComputedIn
from preference.models.pretrained import locate, quiet_transformers
from trainer.evaluation.pair_rewards import score_pairs
from trainer.training.frozen_head import feature_recipe
from trainer.training.recipes import FROZEN

_NUM_SPLITS, _NUM_PAIRS = 12, 160
_TRAIN_SHARE = 0.64
_FORMATS: tuple[ComputedIn, ...] = ("float32", "bfloat16")
_WITHIN = 0.003  # of accuracy


def run(console: Console) -> list[Row]:
    """A row of speed, and one of accuracy for each source."""
    sources = {name: pairs[:_NUM_PAIRS] for name, pairs in sources_of("number formats", console).items()}
    if not sources:
        return []
    quiet_transformers()
    torch.set_num_threads(1)
    right: dict[str, dict[str, np.ndarray]] = {name: {} for name in sources}
    speeds = {}
    for dtype in _FORMATS:
        with tempfile.TemporaryDirectory(prefix="pairloop-bench-") as scratch:
            lab = Lab(Path(scratch), dtype)
            speeds[dtype] = _answers_a_second(lab, [pair for pairs in sources.values() for pair in pairs])
            for name, pairs in sources.items():
                right[name][dtype] = _right(lab, pairs)
    rows = [
        Row(
            "reading answers in bfloat16",
            speeds["bfloat16"],
            "answers/cpu-s",
            speeds["float32"],
            "float32",
            bar=Bar(1.7, is_most=False),
        )
    ]
    for name, pairs in sources.items():
        number = {prompt: i for i, prompt in enumerate(dict.fromkeys(pair.prompt for pair in pairs))}
        outcomes = Outcomes(right[name], np.array([number[pair.prompt] for pair in pairs]), float("nan"))
        change, interval = outcomes.mean("bfloat16", "float32")
        console.print(f"number formats: {name}, accuracy {', '.join(f'{d} {outcomes.mean(d)[0]:.3f}' for d in _FORMATS)}")
        what = f"accuracy in bfloat16 less that in float32, {name}, {len(pairs)} pairs, {_NUM_SPLITS} splits"
        rows.append(Row(what, change, "", interval=interval, bar=Bar(-_WITHIN, "value", is_most=False)))
    return rows


def _answers_a_second(lab: Lab, pairs: Sequence[PreferencePair]) -> float:
    """Of CPU time; the features are kept."""
    extractor = lab.extractors(feature_recipe(FROZEN, base="embedded", path=locate("embedded", lab.model_dir)))
    extractor.features(["Why?"], ["So."])  # whatever is done once
    prompts, answers = [pair.prompt for pair in pairs for _ in range(2)], [a for p in pairs for a in (p.chosen, p.rejected)]
    started = time.process_time()
    extractor.features(prompts, answers)
    return len(answers) / (time.process_time() - started)


def _right(lab: Lab, pairs: list[PreferencePair]) -> np.ndarray:
    """(splits, pairs) what each pair got in each split; NaN if the split did not hold it out."""
    right = np.full((_NUM_SPLITS, len(pairs)), np.nan)
    for split, (train, held_out) in enumerate(splits(pairs, round(_TRAIN_SHARE * len(pairs)), count=_NUM_SPLITS)):
        model = lab.train([pairs[i] for i in train])
        right[split, held_out] = score_pairs(model, [pairs[i] for i in held_out]).right
    return right
