"""What the default recipe reaches on real human preferences, beside rules without a model, and what it costs.

The pairs come from the folder that PREFERENCE_DATA names (default: ../shared/data), as *.jsonl.gz files with `prompt`,
`chosen` and `rejected`; without any, this says so and measures nothing. Five splits by prompt, the same for every recipe:
with 300 and 900 training pairs if the file has that many, else with 64 % of it. Intervals are bootstraps over the prompts of
what each pair got on average over the splits that held it out, so they show what other rows of the same source may give.
"""

import gzip
import json
import math
import os
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console

from benchmarks.row import Row
from demo.stack import REPOSITORY
from preference.labelling.pairs import PreferencePair
from preference.labelling.prompts import transcript
from preference.models.number_formats import NumberFormat
from preference.models.pretrained import quiet_transformers
from preference.reward_model.extractors import Extractors
from preference.reward_model.model import RewardModel
from trainer.evaluation.baselines import baselines
from trainer.evaluation.pair_rewards import score_pairs
from trainer.reporting.figures import confidences, reliability
from trainer.training.recipes import RECIPES
from trainer.training.train import train_challenger
from trainer.training.trained import TrainingContext

_NUM_SPLITS = 5
_SIZES = (300, 900)
_LEAST_HELD_OUT = 150
_OTHER_SIZE = 0.64
_NUM_COST = 900  # pairs whose features and head are timed
_TUTORIAL_PAIRS = (4, 12)  # its cost a pair is the difference: what happens before the first step is not counted
Array = NDArray[np.float64]


@dataclass(frozen=True)
class Outcomes:
    """What each pair of a file got in each split; NaN if the split did not hold it out."""

    of: dict[str, Array]  # rule -> (num_splits, num_pairs)
    prompts: NDArray[np.int64]  # (num_pairs,) which prompt each pair has
    calibration_error: float  # of the held-out pairs of all splits together: in one split's bins there are too few

    def mean(self, *names: str) -> tuple[float, tuple[float, float]]:
        """The mean over splits of the first rule (less that of the second), and its 95 % interval."""
        values = self.of[names[0]] - (self.of[names[1]] if len(names) > 1 else 0)
        held_out = ~np.isnan(values).all(axis=0)
        of_pair, prompts = np.nanmean(values[:, held_out], axis=0), self.prompts[held_out]
        counts = np.bincount(prompts)
        sums, counts = np.bincount(prompts, of_pair)[counts > 0], counts[counts > 0]
        drawn = np.random.default_rng(0).integers(len(sums), size=(2000, len(sums)))
        means = sums[drawn].sum(1) / counts[drawn].sum(1)
        low, high = np.quantile(means, (0.025, 0.975))
        return float(np.nanmean(values, axis=1).mean()), (float(low), float(high))


def run(console: Console) -> list[Row]:
    """Accuracy, gain and calibration for each file and size; then costs, on the first file."""
    sources = sources_of("accuracy", console)
    if not sources:
        return []
    quiet_transformers()
    torch.set_num_threads(1)  # a second busy process would make two threads slower than one
    rows: list[Row] = []
    with tempfile.TemporaryDirectory(prefix="pairloop-bench-") as scratch:
        lab = Lab(Path(scratch))
        rows += _costs(lab, next(iter(sources.values())), console)
        for name, pairs in sources.items():
            rows += _accuracy(lab, name, pairs, console)
    return rows


class Lab:
    """A MODEL_DIR whose features are computed anew; the converted weights are kept between runs."""

    def __init__(self, scratch: Path, dtype: NumberFormat = "float32") -> None:
        """`dtype`: in which the base reads answers."""
        self.model_dir, self.version = scratch / "models", scratch / "version"
        self.version.mkdir()
        self.model_dir.mkdir()
        converted = REPOSITORY / ".cache" / "bench-models" / "embedded"
        converted.mkdir(parents=True, exist_ok=True)
        (self.model_dir / "embedded").symlink_to(converted)
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.extractors = Extractors(self.model_dir, self.device, dtype)

    def train(self, pairs: Sequence[PreferencePair], recipe: str = "frozen") -> RewardModel:
        """A version that was trained on the pairs."""
        return train_challenger(pairs, RECIPES[recipe], self.version, TrainingContext("embedded", self.extractors)).model


def sources_of(benchmark: str, console: Console) -> dict[str, list[PreferencePair]]:
    """The pairs of each source by its name; none, and a line that says so, if there are no files."""
    folder = Path(os.environ.get("PREFERENCE_DATA", REPOSITORY.parent / "shared" / "data"))
    sources = {path.name.removesuffix(".jsonl.gz"): read_pairs(path) for path in sorted(folder.glob("*.jsonl.gz"))}
    if not sources:
        console.print(f"{benchmark}: no *.jsonl.gz in PREFERENCE_DATA={folder}, so nothing is measured")
    return sources


def read_pairs(path: Path) -> list[PreferencePair]:
    """The pairs of a file."""
    with gzip.open(path, "rt", encoding="utf-8") as file:
        return [PreferencePair(r["prompt"], r["chosen"], r["rejected"]) for r in map(json.loads, file)]


def _accuracy(lab: Lab, name: str, pairs: list[PreferencePair], console: Console) -> list[Row]:
    sizes = [size for size in _SIZES if size + _LEAST_HELD_OUT <= len(pairs)] or [round(_OTHER_SIZE * len(pairs))]
    rows: list[Row] = []
    for size in sizes:
        outcomes = _outcomes(lab, pairs, size)
        means = {rule: outcomes.mean(rule) for rule in outcomes.of}
        rule = max((rule for rule in means if rule != "frozen"), key=lambda rule: means[rule][0])
        for each, (mean, (low, high)) in means.items():
            console.print(f"accuracy: {name}, {size} pairs, {each}: {mean:.3f} ({low:.3f} to {high:.3f})")
        what = f"{name}, {size} pairs"
        rows += [
            Row(f"held-out accuracy, {what}", means["frozen"][0], "", means[rule][0], f"{rule} wins", means["frozen"][1]),
            Row(f"gain over {rule} wins, {what}", outcomes.mean("frozen", rule)[0], "", interval=outcomes.mean("frozen", rule)[1]),
            Row(f"gain over longer wins, {what}", outcomes.mean("frozen", "longer")[0], "", interval=outcomes.mean("frozen", "longer")[1]),
            Row(f"calibration error, {what}", outcomes.calibration_error, ""),
        ]  # fmt: skip
    return rows


def _outcomes(lab: Lab, pairs: list[PreferencePair], size: int) -> Outcomes:
    outcomes: dict[str, Array] = {}
    held_out_results: list[tuple[Array, Array]] = []
    for split, (train, held_out) in enumerate(splits(pairs, size, count=_NUM_SPLITS)):
        model = lab.train([pairs[i] for i in train])
        holdout = [pairs[i] for i in held_out]
        rewards = score_pairs(model, holdout)
        of_split = {"frozen": rewards.right, **{b.name: b.outcomes for b in baselines([pairs[i] for i in train], holdout)}}
        for rule, values in of_split.items():
            outcomes.setdefault(rule, np.full((_NUM_SPLITS, len(pairs)), np.nan))[split, held_out] = values
        held_out_results.append((confidences(model, rewards), rewards.right))
    number = {prompt: i for i, prompt in enumerate(dict.fromkeys(pair.prompt for pair in pairs))}
    curve = reliability(*(np.concatenate(values) for values in zip(*held_out_results, strict=True)))
    return Outcomes(
        outcomes,
        np.array([number[pair.prompt] for pair in pairs]),
        curve.calibration_error if curve and curve.calibration_error is not None else math.nan,
    )


def splits(pairs: Sequence[PreferencePair], size: int, *, count: int) -> Iterator[tuple[list[int], list[int]]]:
    """(places to train on, places held out): no prompt is on both sides; `size` places to train on."""
    prompts = list(dict.fromkeys(pair.prompt for pair in pairs))
    for seed in range(count):
        rank = {prompt: i for i, prompt in enumerate(np.random.default_rng(seed).permutation(np.array(prompts, object)))}
        ordered = sorted(range(len(pairs)), key=lambda i: (rank[pairs[i].prompt], i))
        train = ordered[:size]
        train_prompts = {pairs[i].prompt for i in train}
        yield train, [i for i in ordered[size:] if pairs[i].prompt not in train_prompts]


def _costs(lab: Lab, pairs: Sequence[PreferencePair], console: Console) -> list[Row]:
    """CPU seconds of the default recipe beside the tutorial's, and of scoring beside a pipeline."""
    some = pairs[:_NUM_COST]
    lab.train(pairs[-8:])  # loads the backbone
    from_nothing = _cpu_seconds(lambda: lab.train(some))
    kept = _cpu_seconds(lambda: lab.train(some))
    few, more = (_cpu_seconds(lambda n=n: lab.train(pairs[:n], "tutorial")) for n in _TUTORIAL_PAIRS)
    of_pair = (more - few) / (_TUTORIAL_PAIRS[1] - _TUTORIAL_PAIRS[0])
    console.print(f"accuracy: the tutorial's recipe takes {of_pair:.2f} cpu-s a pair")
    tutorial = of_pair * len(some)
    scored, piped = _scoring(lab, pairs[_NUM_COST:][:64] or pairs[:64], console)
    return [
        Row(f"retrain on {len(some)} pairs, features kept", kept, "cpu-s", tutorial, "tutorial"),
        Row(f"train on {len(some)} pairs from nothing", from_nothing, "cpu-s", tutorial, "tutorial"),
        Row("scoring", scored, "answers/cpu-s", piped, "pipeline, at its best batch"),
    ]


def _scoring(lab: Lab, pairs: Sequence[PreferencePair], console: Console) -> tuple[float, float]:
    """(ours, the pipeline's) answers a CPU second, with both answers of each pair asked for at once."""
    from transformers import AutoModelForSequenceClassification, pipeline

    from preference.models.pretrained import load_tokenizer, load_weights, locate

    model = lab.train([replace(pair, prompt=f"{pair.prompt} ") for pair in pairs[:8]])  # whose features are other ones
    ours = 2 * len(pairs) / _cpu_seconds(lambda: score_pairs(model, pairs))
    path = locate("embedded", lab.model_dir)
    network = load_weights(AutoModelForSequenceClassification, path, num_labels=1, dtype=torch.float32)
    tokenizer = load_tokenizer(path)
    network.config.pad_token_id = tokenizer.pad_token_id
    classify = pipeline("text-classification", model=network, tokenizer=tokenizer, device=lab.device)  # type: ignore[call-overload]
    texts = [_chat(tokenizer, transcript(pair.prompt), answer) for pair in pairs for answer in (pair.chosen, pair.rejected)]
    speeds = []
    for batch in (1, 8):
        seconds = _cpu_seconds(lambda b=batch: list(classify(texts, batch_size=b, truncation=True, max_length=512)))
        speeds.append(len(texts) / seconds)
        console.print(f"accuracy: pipeline, batches of {batch}: {speeds[-1]:.1f} answers/cpu-s; ours {ours:.1f}")
    return ours, max(speeds)


def _chat(tokenizer, prompt: str, answer: str) -> str:  # type: ignore[no-untyped-def]
    turns = [{"role": "user", "content": prompt}, {"role": "assistant", "content": answer}]
    return str(tokenizer.apply_chat_template(turns, tokenize=False))


def _cpu_seconds(action) -> float:  # type: ignore[no-untyped-def]
    started = time.process_time()
    action()
    return time.process_time() - started
