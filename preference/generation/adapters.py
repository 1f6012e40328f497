"""The adapters of generator versions on one base in memory: each project's own, switched without loading the base again.

An adapter is merged into copies of the weights that it changes, and a switch puts these in their place. So writing with it takes no
longer than without. It is merged in float32 and rounded once: added to weights in bfloat16, a small one would lose a fifth of itself.

Covered: several adapters, of which the latest few stay merged; one of another base, a damaged one, one whose base was replaced: each is
refused with a sentence, and the base answers.
Not covered: adapters of other kinds than LoRA on linear layers.
"""

import json
from collections import OrderedDict
from dataclasses import dataclass
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from transformers import PreTrainedModel

from preference.errors import ModelError
from preference.generation.jobs import Adapter

WEIGHTS, CONFIG = "adapter_model.safetensors", "adapter_config.json"  # peft's names
_PREFIX = "base_model.model."  # of peft's keys
_DOWN, _UP = ".lora_A.weight", ".lora_B.weight"
_MOST_MERGED = 4  # beside the base; each holds a copy of the layers that it changes
Weights = dict[str, torch.Tensor]  # by the name of the linear layer


@dataclass(frozen=True)
class _LowRank:
    """What is added to one linear layer: scale * up @ down."""

    down: torch.Tensor  # (rank, number of inputs)
    up: torch.Tensor  # (number of outputs, rank)
    scale: float


class Adapters:
    """A base, and what stands in it just now. Used by one thread."""

    def __init__(self, model: PreTrainedModel) -> None:
        self._model = model
        self._base: Weights = {}  # the base's own, of each layer that some adapter changes
        self._merged: OrderedDict[Adapter, Weights] = OrderedDict()  # the one used longest ago first
        self._used: Adapter | None = None

    def use(self, adapter: Adapter | None) -> None:
        """Makes the model compute with this adapter; None is the base as it was loaded.

        Raises:
            ModelError: the adapter cannot be read, or is of another base; the model stays as it was.
        """
        if adapter == self._used:
            return
        weights = {} if adapter is None else self._weights_of(adapter)
        self._put({**self._base, **weights})
        self._used = adapter

    def forget(self, adapter: Adapter) -> None:
        """Gives back the memory of an adapter; the base is used if that one was."""
        if adapter == self._used:
            self.use(None)
        self._merged.pop(adapter, None)

    def _weights_of(self, adapter: Adapter) -> Weights:
        if adapter not in self._merged:
            if len(self._merged) >= _MOST_MERGED:
                oldest = next(other for other in self._merged if other != self._used)
                del self._merged[oldest]
            self._merged[adapter] = self._merge(adapter)
        self._merged.move_to_end(adapter)
        return self._merged[adapter]

    @torch.no_grad()
    def _merge(self, adapter: Adapter) -> Weights:
        merged = {}
        for name, low_rank in _read(adapter).items():
            module = self._linear(name, low_rank, adapter)
            base = self._base.setdefault(name, module.weight.data)
            change = low_rank.up.to(base.device).float() @ low_rank.down.to(base.device).float()
            merged[name] = (base.float() + low_rank.scale * change).to(base.dtype)
        return merged

    def _linear(self, name: str, low_rank: _LowRank, adapter: Adapter) -> torch.nn.Linear:
        try:
            module = self._model.get_submodule(name)
        except AttributeError:
            module = None
        shape = (low_rank.up.shape[0], low_rank.down.shape[1])
        if not isinstance(module, torch.nn.Linear) or tuple(module.weight.shape) != shape:
            raise ModelError(
                f"The generator version {adapter.version} is an adapter of another base: {name} is no linear layer of {shape[1]} to "
                f"{shape[0]} here; set GENERATOR_MODEL to the base that its card names, or let a generator learn on this one."
            )
        return module

    def _put(self, weights: Weights) -> None:
        for name, weight in weights.items():
            module: Any = self._model.get_submodule(name)
            module.weight.data = weight


def _read(adapter: Adapter) -> dict[str, _LowRank]:
    """What an adapter adds, by the name of the linear layer.

    Raises:
        ModelError: its files are missing, damaged, or hold something else.
    """
    try:
        config = json.loads((adapter.folder / CONFIG).read_text(encoding="utf-8"))
        if config["peft_type"] != "LORA" or config.get("use_dora") or config.get("rank_pattern") or config.get("alpha_pattern"):
            raise ValueError("not a plain LoRA adapter")
        rank = int(config["r"])
        scale = float(config["lora_alpha"]) / (rank**0.5 if config.get("use_rslora") else rank)
        tensors = load_file(adapter.folder / WEIGHTS)
        names = [key.removeprefix(_PREFIX).removesuffix(_DOWN) for key in tensors if key.endswith(_DOWN)]
        read = {name: _LowRank(tensors[f"{_PREFIX}{name}{_DOWN}"], tensors[f"{_PREFIX}{name}{_UP}"], scale) for name in names}
        if 2 * len(read) != len(tensors) or not read or any(low.down.shape[0] != low.up.shape[1] for low in read.values()):
            raise ValueError("not the weights of a plain LoRA adapter")
    except (
        OSError,
        ValueError,
        TypeError,
        LookupError,
        AttributeError,
        ArithmeticError,
        RecursionError,
        SafetensorError,
    ) as error:
        reason = " ".join(str(error).split())[:200]
        raise ModelError(
            f"The generator version {adapter.version} cannot be read ({type(error).__name__}: {reason}); "
            f"restore {adapter.folder}, or promote another one."
        ) from error
    return read
