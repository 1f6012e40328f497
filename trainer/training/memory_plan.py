"""The memory that a training of a sequence recipe will take, computed from the shape of its base before any weight is loaded.

The base is built on torch's meta device, where a tensor has a shape and no content. What a step keeps for its backward pass is counted
there: autograd says which tensors it saves. It keeps as much for each token as for any other, and for each layer as for the next.

Covered: any causal model of transformers, in each number format, with adapters or without.
Measured: with the embedded base, `lora`, and one pair of 1024 tokens in float32 on a CPU 3.4 GB are planned. 3.5 were taken with
MALLOC_MMAP_THRESHOLD_=65536, and 5.8 without: glibc keeps much of what was freed. Not measured on a GPU.

Not covered: an architecture whose attention is its own: then activations are not known, and only the rest is planned; layers that differ
from the first two; what the libraries of a GPU or the allocator of a CPU take for themselves.
"""

import json
import warnings
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import torch
from transformers import (
    MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING,
    AttentionInterface,
    AutoConfig,
    AutoModelForSequenceClassification,
    PreTrainedConfig,
)
from transformers.pytorch_utils import Conv1D

from preference.errors import TrainingError
from preference.models.number_formats import COMPUTED_IN, NF4_BYTES, NumberFormat
from preference.models.out_of_memory import is_out_of_memory
from preference.reward_model.shared_base import HEAD
from trainer.training.lora import begun
from trainer.training.recipes import Recipe

F32 = 4  # bytes of what learns, and of each of the two numbers that Adam keeps of it
_GB = 1e9
_SPARE = 0.05  # of the memory that is free: allocators leave gaps
_TOKENS = 64  # of the texts that are counted


@dataclass(frozen=True)
class MemoryPlan:
    """Bytes of each part, and how a step is done in them."""

    weights: int
    gradients: int
    optimizer: int
    activations: int | None  # of `pairs_at_once`; None if they are not known
    pairs_at_once: int
    tokens: int  # of the longest answer with its prompt
    is_checkpointed: bool = False  # whether activations are computed again in the backward pass, which takes a third more time
    texts: int = 0  # of what was read of the texts before the first step
    unit: str = "pair"  # of what a step takes some at once

    @property
    def total(self) -> int:
        """All of it."""
        return self.weights + self.gradients + self.optimizer + (self.activations or 0) + self.texts

    def __str__(self) -> str:
        known = "activations that are not known" if self.activations is None else f"activations {size_in_words(self.activations)}"
        again = ", computed twice to save memory" if self.is_checkpointed else ""
        at_once = f"{self.pairs_at_once} {self.unit}{'' if self.pairs_at_once == 1 else 's'}"
        texts = f", texts that were read {size_in_words(self.texts)}" if self.texts else ""
        return (
            f"{size_in_words(self.total)}: weights {size_in_words(self.weights)}, gradients {size_in_words(self.gradients)}, optimizer "
            f"{size_in_words(self.optimizer)}, {known} ({at_once} of up to {self.tokens} tokens at once{again}){texts}"
        )

    def fits(self, free: float) -> bool:
        """Whether so many bytes are enough."""
        return self.total <= (1 - _SPARE) * free


def plan_memory(
    config: PreTrainedConfig, recipe: Recipe, *, dtype: NumberFormat, tokens: int, most_at_once: int, free: int
) -> MemoryPlan:  # fmt: skip
    """The quickest way of a step that fits: as many pairs at once as can be, and activations that are kept if they can be.

    `dtype`: of the base. What learns is float32; without adapters that is every weight, of which a step then has a copy in
    bfloat16, too. `tokens`: of the longest text. `free`: bytes.

    Raises:
        TrainingError: not even the smallest fits, and the message has the numbers; or transformers has no sequence classifier over
            such a base.
    """
    if type(config) not in MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING:
        raise TrainingError(
            f"transformers has no sequence classifier over a base of {config.model_type}, which RECIPE={recipe.name} trains; "
            "take RECIPE=frozen, or another REWARD_BASE: a Llama or Qwen, say."
        )
    shape = _shape(json.dumps(config.to_dict(), default=str, sort_keys=True), recipe.lora_rank, dtype)
    sizes = [size for size in range(most_at_once, 0, -1) if recipe.batch_pairs % size == 0]
    plans = [_plan(shape, recipe, tokens, size, is_checkpointed=again) for again in (False, True) for size in sizes]
    fitting = [plan for plan in plans if plan.fits(free)]
    if not fitting:
        other = "RECIPE=frozen" if recipe.lora_rank else "RECIPE=lora"
        raise TrainingError(
            f"RECIPE={recipe.name} takes {min(plans, key=lambda plan: plan.total)}, and {size_in_words(free)} are free; take a smaller REWARD_BASE, "
            f"{other}, a smaller max_tokens in trainer/training/recipes.py, or more memory."
        )
    return fitting[0]


@contextmanager
def enough_memory(what: str, *, fix: str) -> Iterator[None]:
    """Memory that runs out within it is one sentence: a plan counts no other program's.

    Raises:
        TrainingError: it ran out.
    """
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        raise TrainingError(f"The memory is too small for {what}; end what else runs there, {fix}.") from error


def memory_for(recipe: Recipe) -> AbstractContextManager[None]:
    """Within it, memory that runs out is one sentence about this recipe: a TrainingError."""
    return enough_memory(
        f"recipe {recipe.name!r} with {recipe.batch_pairs} pairs of up to {recipe.max_tokens} tokens a step",
        fix="take RECIPE=lora, a smaller REWARD_BASE, or fewer batch_pairs in trainer/training/recipes.py",
    )


@dataclass(frozen=True)
class _Shape:
    """What a base is, in numbers and bytes."""

    num_layers: int
    base_bytes: int  # of weights that do not learn
    num_learning: int
    layer_bytes: int | None  # that a layer keeps for the backward pass, of each token
    other_bytes: int  # that the rest keeps, likewise
    input_bytes: int  # a layer's input, likewise


def _plan(shape: _Shape, recipe: Recipe, tokens: int, pairs_at_once: int, *, is_checkpointed: bool) -> MemoryPlan:
    learning = F32 * shape.num_learning
    activations = None
    if shape.layer_bytes is not None:
        # The backward pass of one layer needs as much again as it kept.
        kept = (
            shape.num_layers * shape.input_bytes + shape.layer_bytes if is_checkpointed else shape.num_layers * shape.layer_bytes
        )
        activations = 2 * pairs_at_once * tokens * (shape.other_bytes + kept + shape.layer_bytes)
    return MemoryPlan(
        shape.base_bytes + learning,
        learning,
        2 * learning,
        activations,
        pairs_at_once,
        tokens,
        is_checkpointed,
    )


@lru_cache(maxsize=8)
def _shape(config_json: str, rank: int, dtype: NumberFormat) -> _Shape:
    config = _of_one_label(json.loads(config_json))
    text = config.get_text_config()
    computed_in: torch.dtype = getattr(torch, COMPUTED_IN[dtype])
    used = computed_in if rank else torch.float32
    with torch.device("meta"):
        network = AutoModelForSequenceClassification.from_config(config, dtype=used)
    num_base, num_learning = sum(weight.numel() for weight in network.parameters()), 0
    num_bytes = computed_in.itemsize * num_base
    if rank:
        head = {id(weight) for name, module in network.named_modules() if name == HEAD for weight in module.parameters()}
        linear = [m.weight for m in network.modules() if hasattr(m, "weight") and m.weight is not None and m.weight.dim() == 2]
        embeddings = id(network.get_input_embeddings().weight)
        adapted = [weight for weight in linear if id(weight) not in head and id(weight) != embeddings]
        num_learning = sum(rank * sum(weight.shape) for weight in adapted) + text.hidden_size
        if dtype == "nf4":
            packed = [
                m.weight.numel()
                for m in network.modules()
                if isinstance(m, torch.nn.Linear | Conv1D) and id(m.weight) not in head
            ]
            # One of them at a time is unpacked to be computed with.
            num_bytes += round((NF4_BYTES - used.itemsize) * sum(packed)) + used.itemsize * max(packed, default=0)
    else:
        num_bytes, num_learning = (num_bytes if computed_in != torch.float32 else 0), num_base
    try:
        one, two = (_kept_bytes(config, layers, rank, used) for layers in (1, 2))
        layer, other = (two - one) // _TOKENS, max(0, 2 * one - two) // _TOKENS
    except Exception:  # an architecture raises whatever its own code runs into
        layer, other = None, 0
    return _Shape(int(text.num_hidden_layers), num_bytes, num_learning, layer, other, int(text.hidden_size) * used.itemsize)


def _kept_bytes(config: PreTrainedConfig, layers: int, rank: int, dtype: torch.dtype) -> int:
    """What autograd keeps of one text of _TOKENS tokens, by a model with so many layers."""
    AttentionInterface.register(_KeepsLikeFlash.name, _KeepsLikeFlash.attend)
    shorter: Any = _of_one_label(config.to_dict())
    shorter.get_text_config().num_hidden_layers = layers
    kept: dict[int, int] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        kept[storage._cdata] = storage.nbytes()
        return tensor

    with torch.device("meta"), warnings.catch_warnings(action="ignore"):  # of peft, which the training itself repeats
        network: Any = AutoModelForSequenceClassification.from_config(
            shorter, dtype=dtype, attn_implementation=_KeepsLikeFlash.name
        )
        if rank:
            network = begun(network.requires_grad_(False), replace(_ANY, lora_rank=rank))
        ids = torch.ones(1, _TOKENS, dtype=torch.long)
        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            network.train()(input_ids=ids, attention_mask=torch.ones_like(ids), use_cache=False)
    of_weights = {weight.untyped_storage()._cdata for weight in network.parameters()}
    return sum(size for storage, size in kept.items() if storage not in of_weights)


def _of_one_label(values: dict[str, Any]) -> PreTrainedConfig:
    config: PreTrainedConfig = AutoConfig.for_model(**values)
    config.num_labels = 1
    return config


_ANY = Recipe("shape", "sequence", max_tokens=_TOKENS)


class _KeepsLikeFlash(torch.autograd.Function):
    """Attention that computes nothing and keeps what the kernels of GPUs and CPUs keep: its inputs and its output, no matrix of scores."""

    name = "pairloop_counts_memory"

    @staticmethod
    def forward(ctx: Any, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
        """(texts, tokens, heads, size of a value) of query, key and value (texts, heads, tokens, size of each)."""
        output = query.new_empty(query.shape[0], query.shape[2], query.shape[1], value.shape[-1])
        ctx.save_for_backward(query, key, value, output)
        return output

    @classmethod
    def attend(
        cls, module: torch.nn.Module, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, mask: object, **_: object
    ) -> tuple[torch.Tensor, None]:
        """As transformers calls it. Where texts are padded, it hands each head keys and values of its own."""
        times = query.shape[1] // key.shape[1]
        return cls.apply(query, *(each.repeat_interleave(times, dim=1) for each in (key, value))), None  # type: ignore[no-untyped-call]


def size_in_words(num_bytes: float) -> str:
    """Bytes as a person reads them."""
    return f"{num_bytes / _GB:.1f} GB" if num_bytes >= _GB else f"{num_bytes / 1e6:.0f} MB"
