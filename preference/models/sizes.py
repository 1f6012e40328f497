"""How large pretrained models are, and how much memory there is for them. Nothing is loaded, nor is torch without a GPU."""

import math
import re
from contextlib import suppress
from pathlib import Path

import psutil

from preference.models.device import may_have_gpu, pick_device
from preference.models.files import EMBEDDED, fetched, has_weights, read_header, weight_files

_CGROUP_LIMIT = Path("/sys/fs/cgroup/memory.max")
_EMBEDDED_WEIGHTS = {"": 134_515_008}
_LAYER = re.compile(r"\.(\d+)\.")


def num_weights(model: str, *, layers: int | None = None) -> int | None:
    """The numbers that a model consists of; None if nobody says that, as of an id while the hub does not answer.

    `layers`: without those of later layers. Only headers of files are read, and of an id that is not here yet, only they are fetched.

    Raises:
        ModelError: it is not there.
    """
    sizes = _sizes(model)
    if not sizes:
        return None
    return sum(size for name, size in sizes.items() if layers is None or _layer_of(name) < layers)


def memory_for(device: str) -> tuple[int, str]:
    """(the bytes of all memory that DEVICE has, whose it is).

    Raises:
        ModelError: that device is not here.
    """
    if device != "cpu" and may_have_gpu():
        import torch

        chosen = pick_device(device)
        if chosen.type == "cuda":
            return int(torch.cuda.get_device_properties(chosen).total_memory), "the GPU"
    total = int(psutil.virtual_memory().total)
    with suppress(OSError, ValueError):  # no cgroup of version 2, or "max"; psutil knows no container's limit
        total = min(total, int(_CGROUP_LIMIT.read_text()))
    return total, "this machine"


def _sizes(model: str) -> dict[str, int]:
    """How many numbers each tensor has, by its name; nothing if that is not known."""
    if model == EMBEDDED:
        return _EMBEDDED_WEIGHTS
    folder = Path(model) if Path(model).is_dir() else fetched(model, "config.json").parent
    if folder == Path(model) or has_weights(folder):
        try:
            headers = [read_header(path)[0] for path in weight_files(folder)]
            return {name: math.prod(tensor["shape"]) for header in headers for name, tensor in header.items()}
        except (OSError, ValueError, TypeError, LookupError, AttributeError):
            return {}
    from huggingface_hub import HfApi  # half a second

    try:
        files = HfApi().get_safetensors_metadata(model).files_metadata.values()
    except Exception:  # whatever the hub or the network lead to
        return {}
    return {name: tensor.parameter_count for file in files for name, tensor in file.tensors.items()}


def _layer_of(name: str) -> int:
    """The place of the layer that a tensor belongs to, from 0; -1 if it belongs to none."""
    match = _LAYER.search(name)
    return int(match[1]) if match else -1
