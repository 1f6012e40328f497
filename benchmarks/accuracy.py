"""Held-out accuracy and seconds of the `frozen` recipe on real human preferences, beside the length rules.

The pairs come from the folder that PREFERENCE_DATA names (default: ../shared/data), as *.jsonl.gz files with `prompt`,
`chosen` and `rejected`; without any, this says so and measures nothing.
"""

import gzip
import json
import os
import tempfile
import time
from pathlib import Path

import torch
from rich.console import Console

from benchmarks.row import Row
from demo.stack import REPOSITORY
from preference.backbone import quiet_transformers
from preference.features import Extractors
from preference.pairs import PreferencePair, split_holdout
from trainer.challenger import train_challenger
from trainer.judge import judge
from trainer.recipes import frozen

_MAX_TRAIN, _MAX_HOLDOUT = 200, 200


def run(console: Console) -> list[Row]:
    """Two rows a file: accuracy, and seconds to train with the features still to be computed."""
    folder = Path(os.environ.get("PREFERENCE_DATA", REPOSITORY.parent / "shared" / "data"))
    files = sorted(folder.glob("*.jsonl.gz"))
    if not files:
        console.print(f"accuracy: no *.jsonl.gz in PREFERENCE_DATA={folder}, so nothing is measured")
    quiet_transformers()
    torch.set_num_threads(1)  # a second busy process would make two threads slower than one
    return [row for path in files for row in _measure(path, console)]


def _measure(path: Path, console: Console) -> list[Row]:
    name = path.name.removesuffix(".jsonl.gz")
    with gzip.open(path, "rt", encoding="utf-8") as file:
        records = [json.loads(line) for line in file]
    pairs = [PreferencePair(record["prompt"], record["chosen"], record["rejected"]) for record in records]
    train, holdout = split_holdout(pairs, 0.5)
    train, holdout = train[:_MAX_TRAIN], holdout[:_MAX_HOLDOUT]
    console.print(f"accuracy: {name}, {len(train)} pairs to train, {len(holdout)} held out")
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    with tempfile.TemporaryDirectory(prefix="pairloop-bench-") as scratch:
        model_dir = Path(scratch) / "models"  # features are computed anew; the converted weights are not
        model_dir.mkdir()
        converted = REPOSITORY / ".cache" / "bench-models" / "embedded"
        converted.mkdir(parents=True, exist_ok=True)
        (model_dir / "embedded").symlink_to(converted)
        (Path(scratch) / "version").mkdir()
        started = time.perf_counter()
        challenger = train_challenger(
            train, frozen(len(train)), Path(scratch) / "version", base="embedded", model_dir=model_dir,
            extractors=Extractors(model_dir, device), device=device, seed=0,
        )  # fmt: skip
        seconds = time.perf_counter() - started
        metrics = judge(challenger, None, holdout).metrics
    rule = "longer" if metrics["longer_wins"] >= 0.5 else "shorter"
    low, high = metrics["interval"]
    console.print(f"accuracy: {name} {metrics['accuracy']:.3f}, 95 % interval {low:.3f} to {high:.3f}")
    return [
        Row(f"held-out accuracy, {name}", metrics["accuracy"], "", metrics[f"{rule}_wins"], f"{rule} answer wins"),
        Row(f"train on {len(train)} pairs, {name}", seconds, "s"),
    ]
