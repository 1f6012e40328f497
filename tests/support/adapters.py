"""Adapters of random numbers on tiny bases, and generator versions of them."""

import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM

from preference.generation.huggingface import HuggingFaceGenerator
from preference.generation.jobs import Adapter
from preference.models.pretrained import load_weights
from preference.projects.folder import ProjectFolder
from preference.projects.generators import Generators
from preference.settings import Settings
from tests.support.generator_versions import CARD
from trainer.generator_training.recipe import DPO
from trainer.generator_training.top_layers import TopLayers


def save_adapter(base: Path, folder: Path, *, seed: int = 1, size: float = 0.3) -> Adapter:
    """An adapter that changes what the base writes."""
    folder.mkdir(parents=True, exist_ok=True)
    layers = TopLayers(load_weights(AutoModelForCausalLM, str(base), dtype=torch.float32), DPO, seed=0)
    torch.manual_seed(seed)
    for weights in layers.weights:
        torch.nn.init.normal_(weights, std=size)
    layers.save(folder)
    return Adapter(f"g{seed}-20261121-062026", folder)


def publish_generator(
    folder: ProjectFolder, settings: Settings, base: Path, *, seed: int = 1, promote: bool = True, probe: float | None = None,
    answer_prefix: str = "",
) -> str:  # fmt: skip
    """A version over `base`; `probe`: what its card says of the probe, if that is not the truth."""
    engine = HuggingFaceGenerator(settings.replace(generator_model=str(base)))
    adapter = save_adapter(base, settings.model_dir / "drafts" / str(seed), seed=seed)
    adapter = replace(adapter, answer_prefix=answer_prefix)
    taken = engine.take_probe(adapter)
    taken = taken if probe is None else {**taken, "log_prob": probe}
    card = replace(
        CARD,
        project_id=folder.project_id,
        base=str(base),
        fingerprint=engine.fingerprint,
        probe=taken,
        answer_prefix=answer_prefix,
    )
    return Generators(folder).publish(adapter.folder, card, promote=promote)


def by_peft(model: Any, folder: Path) -> Any:
    """The model with an adapter as peft itself applies it."""
    with warnings.catch_warnings():  # as in trainer/generator_training/top_layers.py
        warnings.filterwarnings("ignore", "`is_gradient_checkpointing` is deprecated", FutureWarning)
        return PeftModel.from_pretrained(model, str(folder))
