"""Seconds of a round with 50 new judgements on top of 20,000, beside a round from nothing.

Label Studio is tests/support/studio_double.py, which answers faster than a real one: that favours the round from nothing, which downloads
everything. Reading 20,000 pairs with the embedded model takes an hour or two, so that one part is scaled: the features
of the 20,000 are noise that was written into the cache, and what they would have cost is measured on the 50 new pairs, which
are real. All else is the code of `pairloop-trainer once`, in this process.
"""

import itertools
import logging
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from rich.console import Console

from benchmarks.row import Row
from demo.stack import REPOSITORY
from preference.labelling.prompts import Prompt
from preference.models.pretrained import locate, quiet_transformers
from preference.projects.folder import ProjectFolder
from preference.reward_model.extractors import Extractors
from preference.reward_model.feature_cache import FeatureCache
from preference.reward_model.feature_extractor import FeatureRecipe
from preference.settings import Settings
from preference.studio.project import LabelStudioProject
from trainer.rounds.outcome import Round
from trainer.rounds.round import run_round
from trainer.training.frozen_head import feature_recipe
from trainer.training.recipes import RECIPES

NUM_KNOWN, NUM_NEW = 20_000, 50
_DAY = 86400.0


def run(console: Console) -> list[Row]:
    """One row."""
    from tests.support.studio_double import KEY, StudioDouble

    quiet_transformers()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory(prefix="pairloop-bench-") as scratch, StudioDouble() as studio:
        model_dir = Path(scratch)
        converted = REPOSITORY / ".cache" / "bench-models" / "embedded"
        converted.mkdir(parents=True, exist_ok=True)
        (model_dir / "embedded").symlink_to(converted)
        settings = Settings.from_environ({
            "MODEL_DIR": scratch, "LABEL_STUDIO_URL": studio.url, "LABEL_STUDIO_API_KEY": KEY, "FEATURES_MB": "100000"
        })  # fmt: skip
        project_id = studio.add_project()
        project, folder = LabelStudioProject(settings.studio, project_id), ProjectFolder(model_dir, project_id)
        extractors = Extractors(model_dir, torch.device("cpu"), settings.training.reward_dtype)

        def judge(first: int, count: int) -> None:
            for number in range(first, first + count):
                (task_id,) = studio.add_tasks(project_id, _data(number))
                side = "left" if task_id % 3 else "right"
                region = {"from_name": "comparison", "to_name": "comparison", "type": "pairwise", "value": {"selected": side}}
                studio.annotate(task_id, [region])

        def train() -> float:
            started = time.perf_counter()
            ended: Round = run_round(project, folder, settings, extractors=extractors)
            if ended.outcome not in ("promoted", "rejected"):
                raise SystemExit(f"rounds: {ended}")
            return time.perf_counter() - started

        logging.getLogger("trainer").setLevel(logging.ERROR)
        seconds = itertools.count(time.time() - 2 * _DAY)  # people judge over a day: few judgements are of the last minutes
        studio.clock = lambda: next(seconds)
        judge(0, NUM_KNOWN)
        _write_features(settings, extractors)
        whole = train()
        studio.clock = time.time
        judge(NUM_KNOWN, NUM_NEW)
        before = time.perf_counter()
        fresh = [_data(n) for n in range(NUM_KNOWN, NUM_KNOWN + NUM_NEW)]
        extractor = extractors(_recipe(settings))
        extractor.features([d["prompt"] for d in fresh for _ in range(2)], [d[f"answer{i}"] for d in fresh for i in (1, 2)])
        of_new = time.perf_counter() - before
        incremental = of_new + train()
    scaled = whole + of_new * NUM_KNOWN / NUM_NEW
    console.print(
        f"rounds: 50 new {incremental:.1f} s; all {whole:.1f} s and {scaled - whole:.0f} s of features (scaled from 50)"
    )
    return [
        Row("round with 50 new judgements on 20,000", incremental, "s", scaled, "from nothing, features scaled from 50 pairs")
    ]  # fmt: skip


def _data(number: int) -> dict[str, str]:
    return {
        "prompt": f"Question {number}: how does one keep {number % 97} bees through a winter in the mountains?",
        "answer1": f"Leave them {number % 13} kilos of honey, wrap the hive, and keep the wind and the mice out of it. " * 2,
        "answer2": f"It depends on how cold it gets; {number % 7} boxes are enough, and they should be looked at in March. " * 2,
    }


def _recipe(settings: Settings) -> FeatureRecipe:
    path = locate(settings.training.reward_base, settings.model_dir)
    return feature_recipe(RECIPES[settings.training.recipe], base=settings.training.reward_base, path=path)


def _write_features(settings: Settings, extractors: Extractors) -> None:
    """Noise of the right shape for every answer that is known."""
    extractor = extractors(_recipe(settings))
    cache = FeatureCache(settings.model_dir, extractor.key, size=extractor.size)
    random = np.random.default_rng(0)
    for number in range(NUM_KNOWN):
        data = _data(number)
        texts: list[tuple[Prompt, str]] = [(data["prompt"], data["answer1"]), (data["prompt"], data["answer2"])]
        cache.keep(texts, list(random.standard_normal((2, extractor.size), np.float32)))
