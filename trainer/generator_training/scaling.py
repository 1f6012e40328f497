"""Adapters that are made weaker after the training, which holds a generator to its base and takes no step anew.

Covered: a kill. The file of the weights itself says by how much they were scaled, so the two never differ.
"""

from contextlib import suppress
from pathlib import Path

from safetensors import safe_open
from safetensors.torch import load_file, save_file

from preference.atomic_files import replacing

_WEIGHTS = "adapter_model.safetensors"
_SCALED_BY = "scaled_by"  # in the file's metadata, which peft and vLLM do not read


def scale_adapters(folder: Path, factor: float) -> None:
    """Multiplies what the adapters in this folder add to each layer. The divergence from the base goes, roughly, with its square."""
    weights, scaled_by = load_file(folder / _WEIGHTS), factor * (read_scale(folder) or 1.0)
    scaled = {name: tensor * factor if "lora_B" in name else tensor for name, tensor in weights.items()}
    with replacing(folder / _WEIGHTS) as temporary:
        save_file(scaled, temporary, metadata={"format": "pt", _SCALED_BY: f"{scaled_by:.4g}"})


def read_scale(folder: Path) -> float | None:
    """What the adapters in this folder were multiplied by since their training, in all; None if they are as they were trained."""
    with safe_open(folder / _WEIGHTS, framework="pt") as file:
        metadata = file.metadata() or {}
    with suppress(KeyError, ValueError):
        return float(metadata[_SCALED_BY])
    return None
