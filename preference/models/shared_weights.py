"""One copy in memory of the weights that several models of a process read: a generator's and a reward model's on the same base, say.

A model that was loaded from the same files, in the same number format and onto the same device, as one that is in memory takes that one's
tensors in place of its own. On a CPU, weights in the format of their file are the file's pages anyway; on a GPU, and in another format,
each would be a copy.

Covered: another class or another depth of the same base; a folder whose files were replaced, whose weights are others.
Not covered: weights that are changed in place, as a training does. Who does that must not ask for this.
"""

import threading
from pathlib import Path
from weakref import WeakKeyDictionary

import torch
from transformers import PreTrainedModel

Source = tuple[object, ...]
_Tensors = dict[str, torch.Tensor]  # by their names within the base
_IN_MEMORY: "WeakKeyDictionary[PreTrainedModel, tuple[Source, _Tensors]]" = WeakKeyDictionary()
_SHARING = threading.Lock()


def files_in(path: str) -> Source:
    """The weights' files that a folder holds now; () for an id of Hugging Face, whose commit says it."""
    try:
        states = sorted((file.name, file.stat()) for file in Path(path).glob("*.safetensors"))
    except OSError:  # they are being replaced
        return (object(),)  # equal to nothing
    return tuple((name, state.st_dev, state.st_ino, state.st_size, state.st_ctime_ns) for name, state in states)


def share_weights(model: PreTrainedModel, source: Source, *, device: torch.device) -> None:
    """Moves a model to the device, where it takes the weights that another model has there from the same `source`.

    `source`: the name, the commit and the files of what was loaded, equal only for the same weights. transformers 5.23 keeps no commit.
    """
    device = torch.empty(0, device=device).device  # with its number
    with _SHARING:
        known: _Tensors = {}
        for other, tensors in _IN_MEMORY.values():
            if other == source:
                known.update(tensors)
        for name, weight in _named(model):
            same = known.get(name)
            if same is not None and (same.shape, same.dtype, same.device) == (weight.shape, weight.dtype, device):
                weight.data = same
        network: torch.nn.Module = model
        network.to(device)
        _IN_MEMORY[model] = source, {name: weight.data for name, weight in _named(model)}


def _named(model: PreTrainedModel) -> list[tuple[str, torch.nn.Parameter]]:
    """The parameters of a model's base, by the names that they have in each class on it."""
    base: torch.nn.Module = getattr(model, model.base_model_prefix, model)
    return list(base.named_parameters())
