"""A sequence classifier in memory for all versions that are adapters on it, of whichever project: each computes with its own by turns.

An adapter is computed beside the base's weights, in float32, and a switch costs nothing. Merged, as a generator's adapter is
(preference/generation/adapters.py), each version would hold a copy of nearly the whole base, since it changes every layer. With a base of 135M on
a CPU a pass took 1 % longer (17.1 against 16.9 s); by arithmetic the share falls as a base grows wider.

A generator on the same base in the same number format has the same weights in memory, too (preference/models/shared_weights.py); where its own
adapter changes a layer, it puts a merged copy in the place of its own reference, so that none of the others sees it. A base in nf4 is by itself.

Covered: several threads; any number of versions; a base in 4 bits a weight; an adapter of another base, which is refused.
Not covered: adapters of other kinds than LoRA on linear layers.
"""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForSequenceClassification, BitsAndBytesConfig, PreTrainedModel

from preference.errors import ModelError
from preference.models.fingerprint import fingerprint, revision_of
from preference.models.low_rank import LowRank, LowRankAdapter
from preference.models.number_formats import COMPUTED_IN, NumberFormat, check_number_format
from preference.models.pretrained import load_tokenizer, load_weights, locate
from preference.reward_model.turns import Turns

HEAD = "score"  # the name of the score head in a classifier of transformers'
Hook = Callable[[torch.nn.Module, tuple[torch.Tensor, ...], torch.Tensor], torch.Tensor]


@dataclass(frozen=True)
class BaseRecipe:
    """Everything that decides what a base computes."""

    base: str
    revision: str = ""  # the commit of a Hugging Face id; "" is the one that it has now
    dtype: NumberFormat = "float32"

    def key(self, model_dir: Path | None = None) -> str:
        """A text that is the same only for the same weights in the same number format; `model_dir` makes it quicker to find.

        Raises:
            ModelError: the base is not there.
        """
        text = f"{fingerprint(self.base, revision=self.revision, model_dir=model_dir)}|{self.dtype}"
        return hashlib.sha256(text.encode()).hexdigest()[:16]


class ScoreHead(torch.nn.Linear):
    """A score head that computes in float32, whatever the layers before it compute in."""

    def forward(self, input: torch.Tensor) -> torch.Tensor:  # noqa: A002 - torch's name
        """(..., labels) float32 of hidden states (..., hidden size)."""
        with torch.autocast(input.device.type, enabled=False):
            return super().forward(input.float())


def load_classifier(
    path: str, *, revision: str = "", dtype: NumberFormat, device: torch.device | None = None, is_shared: bool = False
) -> PreTrainedModel:
    """A base as a sequence classifier with one label; its head is random if it has none, and computes in float32.

    `is_shared`: as with `load_weights`; `nf4` has nothing in common with other formats, and a model in it stays on `device`.

    Raises:
        ModelError: it cannot be loaded.
    """
    check_number_format(dtype)
    computed_in: torch.dtype = getattr(torch, COMPUTED_IN[dtype])
    options: dict[str, Any] = {"device": device, "is_shared": is_shared}
    if dtype == "nf4":
        packed = BitsAndBytesConfig(
            load_in_4bit=True, bnb_4bit_quant_type=dtype, bnb_4bit_compute_dtype=computed_in, llm_int8_skip_modules=[HEAD]
        )
        options = {"device": device, "quantization_config": packed, "device_map": {"": device or torch.device("cpu")}}
    network = load_weights(
        AutoModelForSequenceClassification, path, revision=revision, num_labels=1, dtype=computed_in, **options
    )
    for layer in network.modules():
        # On a CPU with AVX512_BF16 bitsandbytes 0.50 repacks a layer when it is first evaluated: what is computed then is rounded otherwise
        # than on other CPUs, and a layer whose input is no multiple of 64 fails.
        if hasattr(layer, "support_avx512bf16_for_cpu"):
            setattr(layer, "support_avx512bf16_for_cpu", False)  # noqa: B010 - a name that is bitsandbytes' own
    head = getattr(network, HEAD, None)
    if computed_in != torch.float32 and isinstance(head, torch.nn.Linear):
        in_float = ScoreHead(head.in_features, head.out_features, head.bias is not None, device=head.weight.device)
        in_float.load_state_dict(head.state_dict())
        setattr(network, HEAD, in_float.requires_grad_(False))
    return network


@dataclass(frozen=True, eq=False)
class PlacedAdapter:
    """An adapter on the base's device: what each of the base's modules gives with it."""

    source: LowRankAdapter
    hooks: tuple[tuple[torch.nn.Module, Hook], ...]


class SharedBase:
    """A base, and the adapter that it computes with just now. Safe to use from several threads."""

    def __init__(self, recipe: BaseRecipe, *, model_dir: Path, device: torch.device) -> None:
        path = locate(recipe.base, model_dir)
        # The commit that is loaded, whatever the id moves on to meanwhile.
        self.recipe = recipe = replace(recipe, revision=recipe.revision or revision_of(recipe.base))
        key = recipe.key(model_dir)
        self.tokenizer = load_tokenizer(path, revision=recipe.revision)
        self.network = load_classifier(path, revision=recipe.revision, dtype=recipe.dtype, device=device, is_shared=True)
        self.key = recipe.key(model_dir)
        if self.key != key and not recipe.revision:
            raise ModelError(f"The model {recipe.base!r} was replaced while it was loaded; try again.")
        self._computing = Turns()
        self._used: PlacedAdapter | None = None
        self._handles: list[Any] = []

    def place(self, adapter: LowRankAdapter) -> PlacedAdapter:
        """The adapter, ready to compute with.

        Raises:
            ModelError: it is one of another base, or brings no score head.
        """
        hooks = [self._beside(name, low_rank) for name, low_rank in adapter.layers.items()]
        heads = dict.fromkeys(name.rpartition(".")[0] for name in adapter.whole)
        if not heads:
            raise ModelError(f"An adapter on {self.recipe.base!r} brings no score head, so it is no reward model.")
        return PlacedAdapter(adapter, (*hooks, *(self._instead(name, adapter.whole) for name in heads)))

    def logits(self, adapter: PlacedAdapter | None, inputs: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """(num_texts, 1) what the base gives with this adapter, or by itself; callers take turns."""
        with self._computing:
            if adapter is not self._used:
                for handle in self._handles:
                    handle.remove()
                hooks = adapter.hooks if adapter is not None else ()
                self._handles = [module.register_forward_hook(hook) for module, hook in hooks]
                self._used = adapter
            output: torch.Tensor = self.network(**inputs, use_cache=False).logits
            return output

    def _beside(self, name: str, low_rank: LowRank) -> tuple[torch.nn.Module, Hook]:
        module = self._module(name)
        shape = (low_rank.up.shape[0], low_rank.down.shape[1])
        if isinstance(module, torch.nn.Linear):
            found = module.out_features, module.in_features  # the weight in nf4 has another shape
        else:
            found = tuple(module.weight.shape)[::-1]  # GPT-2's layers have it the other way round
        if found != shape:
            raise self._of_another_base(f"{name} is no linear layer of {shape[1]} to {shape[0]} here")
        down, up = (weight.to(self.network.device).float() for weight in (low_rank.down, low_rank.up))
        up = low_rank.scale * up.T  # (rank, number of outputs)

        def add(module: torch.nn.Module, args: tuple[torch.Tensor, ...], output: torch.Tensor) -> torch.Tensor:
            inner = torch.nn.functional.linear(args[0].float(), down).flatten(0, -2)  # (tokens, rank)
            if output.dtype == torch.float32:
                output.flatten(0, -2).addmm_(inner, up)  # in one pass over what is the layer's own
                return output
            return (output.flatten(0, -2) + inner @ up).to(output.dtype).view_as(output)

        return module, add

    def _instead(self, name: str, whole: Mapping[str, torch.Tensor]) -> tuple[torch.nn.Module, Hook]:
        module = self._module(name)
        weight, bias = (whole.get(f"{name}.{part}") for part in ("weight", "bias"))
        if weight is None or weight.shape != module.weight.shape:
            raise self._of_another_base(f"{name} is no linear layer of its size here")
        weight = weight.to(self.network.device).float()
        bias = bias.to(self.network.device).float() if bias is not None else None

        def replace_output(module: torch.nn.Module, args: tuple[torch.Tensor, ...], output: torch.Tensor) -> torch.Tensor:
            return torch.nn.functional.linear(args[0].float(), weight, bias)

        return module, replace_output

    def _module(self, name: str) -> Any:
        try:
            module = self.network.get_submodule(name)
        except AttributeError:
            module = None
        if not isinstance(getattr(module, "weight", None), torch.Tensor):
            raise self._of_another_base(f"there is no layer {name} here")
        return module

    def _of_another_base(self, reason: str) -> ModelError:
        return ModelError(
            f"The adapter is of another base than {self.recipe.base!r}: {reason}; put back the one that it was trained on."
        )
