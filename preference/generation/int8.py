"""Linear layers that multiply in 8 bits on a CPU: VNNI's products are about four times as fast as those in float32.

Weights have a scale an output, and a token's inputs one scale of their own, so that no other row of the batch changes an answer. A few
inputs are far larger than all others, the same ones for every token: in 8 bits they would leave the others no digits. These stay in
float32, as in LLM.int8() (arXiv 2208.07339). Which they are is seen on one text, when the model is loaded.

Covered: layers that read the same tensor, as those of a query and its key, round it once; a layer's weight in place of its own
(adapters.py); biases.
Not covered: GPUs; layers that are no torch.nn.Linear; a model that changes a tensor in place between two layers that read it.
"""

import weakref
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import cast

import torch

from preference.errors import ModelError
from preference.models.out_of_memory import release_file_pages

_LEVELS = 127  # on each side of zero
_ZERO = 128  # VNNI multiplies unsigned by signed numbers
_NUM_LARGE = 24  # inputs in float32: with half as many SmolLM2's predictions are farther from float32's, with more no nearer
_LEAST = 1e-12  # of a scale: a token of zeros has none


@dataclass(frozen=True, eq=False)
class Packed:
    """A weight as it is multiplied."""

    levels: torch.Tensor  # in the order that oneDNN reads
    scales: torch.Tensor  # (number of outputs,)
    zeros: torch.Tensor  # (number of outputs,)
    large: torch.Tensor  # (number of inputs in float32, number of outputs)


@dataclass(eq=False)
class _Rounded:
    """The tensor that was rounded last, while it lives, and what came of it. One for a model, so that only one is in memory."""

    tensor: Callable[[], torch.Tensor | None] = lambda: None
    values: tuple[torch.Tensor, ...] = ()


class _Inputs:
    """What some layers read, and which of it is large. Used by one thread."""

    def __init__(self, seen: torch.Tensor, rounded: _Rounded) -> None:
        """`seen`: (..., number of inputs) of a text."""
        self._rounded = rounded
        most = seen.flatten(0, -2).abs().amax(0)
        self.large = most.topk(min(_NUM_LARGE, len(most) // 2)).indices
        self.is_small = torch.ones_like(most).index_fill_(0, self.large, 0)

    def read(self, tensor: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Of (..., number of inputs), a line a token: the levels, the scales (num_tokens, 1), and the large ones."""
        if self._rounded.tensor() is not tensor:
            rows = tensor.flatten(0, -2)
            small = rows * self.is_small
            # Ten times as fast as torch.linalg.vector_norm of the order infinity, and without a copy for abs().
            most = torch.maximum(small.amax(-1, keepdim=True), -small.amin(-1, keepdim=True))
            scales = most.div_(_LEVELS).clamp_(min=_LEAST)
            levels = small.mul_(scales.reciprocal()).add_(_ZERO + 0.5).to(torch.uint8)  # cut off, so rounded
            self._rounded.values = levels, scales, rows.index_select(1, self.large)
            self._rounded.tensor = weakref.ref(tensor)
        return self._rounded.values


class Int8Linear(torch.nn.Linear):
    """A linear layer; `weight` is still the one that was loaded, which nothing reads but who merges an adapter: it is left on the disk."""

    packed: Packed
    inputs: _Inputs

    def pack(self, weight: torch.Tensor) -> Packed:
        """A weight of this layer's shape as `packed` takes it."""
        rows = weight.float()
        small = rows * self.inputs.is_small
        scales = small.abs().amax(1).div_(_LEVELS).clamp_(min=_LEAST)
        levels = torch.ops.onednn.qlinear_prepack(small.div_(scales[:, None]).round_().to(torch.int8), None)
        large = rows.index_select(1, self.inputs.large).t().contiguous()
        return Packed(levels, scales, torch.zeros(len(rows), dtype=torch.long), large)

    def forward(self, input: torch.Tensor) -> torch.Tensor:  # noqa: A002 - torch's name
        """As torch.nn.Linear, nearly."""
        (levels, scales, large), packed = self.inputs.read(input), self.packed
        # The scale of 1 is for all rows alike; each row's own follows.
        products = torch.ops.onednn.qlinear_pointwise(
            levels, 1.0, _ZERO, packed.levels, packed.scales, packed.zeros, None, 1.0, 0, torch.float32, "none", [], ""
        )
        out = cast(torch.Tensor, products).mul_(scales).addmm_(large, packed.large)
        out = out if self.bias is None else out.add_(self.bias)
        return out.view(*input.shape[:-1], -1)


def check_int8(device: torch.device) -> None:
    """Raises ModelError if 8 bits are no faster here, or not exact."""
    # Without VNNI the sums of two products overflow 16 bits.
    if device.type != "cpu" or not torch.cpu._is_vnni_supported():
        raise ModelError(
            f"DTYPE=int8 is for a CPU with AVX-512 VNNI, and the generator is on {device} without it; set DTYPE=auto."
        )


@torch.inference_mode()
def multiply_in_int8(model: torch.nn.Module, ids: Sequence[int]) -> None:
    """Makes the linear layers of a float32 model on a CPU multiply in 8 bits, those that a text of these tokens goes through."""
    rounded = _Rounded()
    inputs_of: dict[torch.nn.Linear, _Inputs] = {}

    def see(layer: torch.nn.Module, args: tuple[torch.Tensor, ...]) -> None:
        # Of one tensor, all layers see the same inputs large.
        inputs_of[cast(torch.nn.Linear, layer)] = _Inputs(args[0], rounded)

    hooks = [layer.register_forward_pre_hook(see) for layer in model.modules() if type(layer) is torch.nn.Linear]
    try:
        model(input_ids=torch.tensor([list(ids)]), use_cache=False)
    finally:
        for hook in hooks:
            hook.remove()
    for layer, inputs in inputs_of.items():
        layer.__class__ = Int8Linear
        changed = cast(Int8Linear, layer)
        changed.inputs = inputs
        changed.packed = changed.pack(layer.weight.data)
    release_file_pages(layer.weight for layer in inputs_of)
