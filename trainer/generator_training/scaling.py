"""Adapters that are made weaker after the training, which holds a generator to its base and takes no step anew."""

from pathlib import Path

from safetensors.torch import load_file, save_file

from preference.atomic_files import replacing

_WEIGHTS = "adapter_model.safetensors"


def scale_adapters(folder: Path, factor: float) -> None:
    """Multiplies what the adapters in this folder add to each layer. The divergence from the base goes, roughly, with its square."""
    weights = load_file(folder / _WEIGHTS)
    scaled = {name: tensor * factor if "lora_B" in name else tensor for name, tensor in weights.items()}
    with replacing(folder / _WEIGHTS) as temporary:
        save_file(scaled, temporary, metadata={"format": "pt"})
