"""The adapters of generator versions on one base in memory: each project's own, switched without loading the base again.

An adapter is merged into copies of the weights that it changes, and a switch puts these in their place. So writing with it takes no
longer than without. It is merged in float32 and rounded once, to 8 bits too: added to weights in bfloat16, a small one would lose a fifth of itself.
A reward model, which reads long texts at once, computes its adapter beside the weights (preference/reward_model/shared_base.py).

Covered: several adapters, of which the latest few stay merged; one of another base, a damaged one, one whose base was replaced: each is
refused with a sentence, and the base answers.
Not covered: adapters of other kinds than LoRA on linear layers.
"""

from collections import OrderedDict
from typing import Any, cast

import torch
from transformers import PreTrainedModel

from preference.errors import ModelError
from preference.generation.int8 import Int8Linear, Packed
from preference.generation.jobs import Adapter
from preference.models.low_rank import LowRank, read_low_rank

_MOST_MERGED = 4  # beside the base; each holds a copy of the layers that it changes
Weights = dict[str, torch.Tensor | Packed]  # by the name of the linear layer, as the layer holds it


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
        merged, read = {}, read_low_rank(adapter.folder)
        if read.whole:
            raise ModelError(f"The generator version {adapter.version} changes {next(iter(read.whole))}, which none may.")
        for name, low_rank in read.layers.items():
            module = self._linear(name, low_rank, adapter)
            if isinstance(module, Int8Linear):
                self._base.setdefault(name, module.packed)
                base = module.weight.data
            else:
                base = cast(torch.Tensor, self._base.setdefault(name, module.weight.data))
            change = low_rank.up.to(base.device).float() @ low_rank.down.to(base.device).float()
            whole = base.float() + low_rank.scale * change
            merged[name] = module.pack(whole) if isinstance(module, Int8Linear) else whole.to(base.dtype)
        return merged

    def _linear(self, name: str, low_rank: LowRank, adapter: Adapter) -> torch.nn.Linear:
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
            if isinstance(weight, Packed):
                module.packed = weight
            else:
                module.weight.data = weight
