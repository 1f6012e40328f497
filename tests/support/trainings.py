"""Trainings of seconds on the tiny base, and what the network was given in them."""

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch.nn.modules.module import register_module_forward_hook
from transformers import LlamaForSequenceClassification

from preference.labelling.pairs import PreferencePair
from preference.reward_model.extractors import Extractors
from preference.reward_model.model import AdapterRewardModel, RewardModel, SequenceRewardModel
from trainer.training.recipes import RECIPES, Recipe
from trainer.training.train import train_challenger
from trainer.training.trained import Start, TrainingContext, Workspace
from trainer.training.trl_trainer import fit_sequence

CPU = torch.device("cpu")
Inputs = dict[str, torch.Tensor]
Train = Callable[..., RewardModel]
SEQUENCE = [name for name, recipe in RECIPES.items() if recipe.kind == "sequence"]


def score(model: RewardModel, pairs: Sequence[PreferencePair]) -> tuple[torch.Tensor, torch.Tensor]:
    """The rewards of the chosen and of the rejected answers."""
    prompts = [pair.prompt for pair in pairs]
    return model.score(prompts, [pair.chosen for pair in pairs]), model.score(prompts, [pair.rejected for pair in pairs])


@contextmanager
def recorded_training() -> Iterator[list[Inputs]]:
    """What the network is given in each training step, as the collator made it: chosen answers first, then rejected."""
    steps: list[Inputs] = []

    def keep(module: torch.nn.Module, args: Any, inputs: dict[str, Any], output: Any) -> None:
        is_planned = inputs.get("input_ids", torch.ones(0)).is_meta  # by memory_plan.py, which computes nothing
        if isinstance(module, LlamaForSequenceClassification) and torch.is_grad_enabled() and not is_planned:
            steps.append({name: value.clone() for name, value in inputs.items() if isinstance(value, torch.Tensor)})

    handle = register_module_forward_hook(keep, with_kwargs=True)
    try:
        yield steps
    finally:
        handle.remove()


def train_version(
    pairs: Sequence[PreferencePair], recipe: Recipe, folder: Path, *, base: Path, extractors: Extractors, seed: int = 0
) -> RewardModel:  # fmt: skip
    """A challenger that lies in a new folder."""
    folder.mkdir()
    return train_challenger(pairs, recipe, folder, TrainingContext(str(base), extractors, seed)).model


class Bench:
    """Fits on the tiny base in a workspace of this test's."""

    def __init__(self, base: Path, folder: Path, **options: Any) -> None:
        self.context = TrainingContext(str(base), Extractors(folder / "models", CPU), seed=3, **options)
        self.workspace = Workspace(folder / "work", folder / "curves" / "run")

    def fit(self, pairs: list[PreferencePair], recipe: Recipe, *, start: Start = "base", **changes: Any) -> SequenceRewardModel:
        fitted = fit_sequence(pairs, recipe, self.context, dataclasses.replace(self.workspace, **changes), start)
        return fitted.model(self.context.extractors)


def weights_of(model: RewardModel) -> dict[str, torch.Tensor]:
    """What a training of a sequence recipe made."""
    assert isinstance(model, SequenceRewardModel)
    return dict(model.adapter.tensors if isinstance(model, AdapterRewardModel) else model.network.state_dict())


def quick(name: str = "full", **changes: Any) -> Recipe:
    """A recipe that learns something from a handful of pairs."""
    return dataclasses.replace(with_little_padding(name), **{"learning_rate": 1e-3, "batch_pairs": 4, "epochs": 3, **changes})


def with_little_padding(name: str, **changes: Any) -> Recipe:
    """A recipe that pads to 64 tokens at most: the tutorial's 550 only take longer."""
    return dataclasses.replace(RECIPES[name], **{"pad_to": min(RECIPES[name].pad_to, 64), **changes})
