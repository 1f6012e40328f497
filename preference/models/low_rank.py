"""Adapters in peft's own file format (LoRA, arXiv 2106.09685), read and written without peft.

Covered: what peft writes for LoRA on linear layers, with modules that were trained whole beside it (a score head).
Not covered: adapters of other kinds, DoRA, a rank or scale of its own for some layer; they are refused.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from preference.errors import ModelError

WEIGHTS, CONFIG = "adapter_model.safetensors", "adapter_config.json"  # peft's names
_PREFIX = "base_model.model."  # of peft's keys
_DOWN, _UP = ".lora_A.weight", ".lora_B.weight"


@dataclass(frozen=True, eq=False)
class LowRank:
    """What is added to one linear layer: scale * up @ down."""

    down: torch.Tensor  # (rank, number of inputs)
    up: torch.Tensor  # (number of outputs, rank)
    scale: float


@dataclass(frozen=True, eq=False)
class LowRankAdapter:
    """What an adapter holds, on the CPU, and what its config says. Layers are named as in the model that it is on."""

    config: Mapping[str, Any]
    tensors: Mapping[str, torch.Tensor]  # under peft's keys
    layers: Mapping[str, LowRank]  # by the name of the linear layer
    whole: Mapping[str, torch.Tensor]  # what takes the place of a weight of the model, by that weight's name

    @classmethod
    def of(cls, config: Mapping[str, Any], tensors: Mapping[str, torch.Tensor]) -> "LowRankAdapter":
        """What peft's config and tensors mean.

        Raises:
            ValueError, TypeError, LookupError, ArithmeticError, AttributeError: they are not those of a plain LoRA adapter.
        """
        if config["peft_type"] != "LORA" or config.get("use_dora") or config.get("rank_pattern") or config.get("alpha_pattern"):
            raise ValueError("not a plain LoRA adapter")
        rank = int(config["r"])
        scale = float(config["lora_alpha"]) / (rank**0.5 if config.get("use_rslora") else rank)
        names = [key.removeprefix(_PREFIX).removesuffix(_DOWN) for key in tensors if key.endswith(_DOWN)]
        layers = {name: LowRank(tensors[f"{_PREFIX}{name}{_DOWN}"], tensors[f"{_PREFIX}{name}{_UP}"], scale) for name in names}
        whole = {key.removeprefix(_PREFIX): tensor for key, tensor in tensors.items() if not key.endswith((_DOWN, _UP))}
        is_whole = 2 * len(layers) + len(whole) == len(tensors) and not any("lora_" in name for name in whole)
        if not is_whole or not layers or any(low.down.shape[0] != low.up.shape[1] for low in layers.values()):
            raise ValueError("not the weights of a plain LoRA adapter")
        return cls(config, tensors, layers, whole)

    @property
    def rank(self) -> int:
        """Of each of its products."""
        return int(self.config["r"])

    def save(self, folder: Path) -> None:
        """Writes peft's two files into an existing folder."""
        save_file({key: tensor.contiguous() for key, tensor in self.tensors.items()}, folder / WEIGHTS, metadata={"format": "pt"})
        (folder / CONFIG).write_text(json.dumps(self.config, indent=1, sort_keys=True, default=sorted), encoding="utf-8")


def read_low_rank(folder: Path) -> LowRankAdapter:
    """The adapter in a folder.

    Raises:
        ModelError: its files are missing, damaged, or hold something else.
    """
    try:
        return LowRankAdapter.of(json.loads((folder / CONFIG).read_text(encoding="utf-8")), load_file(folder / WEIGHTS))
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
            f"The adapter in {folder} cannot be read ({type(error).__name__}: {reason}); restore its files, or promote another version."
        ) from error
