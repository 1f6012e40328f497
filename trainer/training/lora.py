"""Low-rank adapters on a base: begun, continued, and taken off. The only file of this room with PEFT."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from peft.utils import get_peft_model_state_dict
from transformers import PreTrainedModel

from preference.errors import ModelError
from preference.models.low_rank import CONFIG, LowRankAdapter, read_low_rank
from preference.reward_model.shared_base import HEAD
from trainer.training.recipes import Recipe

# What is stored: half of float32's size, and eight times finer than bfloat16. What is judged is what was stored.
_STORED = torch.float16


def begun(network: PreTrainedModel, recipe: Recipe) -> PeftModel:
    """The network with new adapters, in float32, on every linear layer; they change nothing yet. Its head is trained whole."""
    config = LoraConfig(
        task_type="SEQ_CLS",
        r=recipe.lora_rank,
        lora_alpha=2 * recipe.lora_rank,
        target_modules="all-linear",
        exclude_modules=[HEAD],
        modules_to_save=[HEAD],
    )
    with _quiet():
        return get_peft_model(network, config)


def continued(network: PreTrainedModel, version: Path) -> PeftModel:
    """The network with the adapters and the head of a version, to be trained on.

    Raises:
        ModelError: they cannot be read, or are those of another base.
    """
    read_low_rank(version)  # which says what is wrong with them in a sentence
    try:
        with _quiet():
            return PeftModel.from_pretrained(network, str(version), is_trainable=True, torch_device="cpu")
    except (RuntimeError, ValueError, KeyError) as error:  # whatever peft meets in a network of another shape
        reason = " ".join(str(error).split())[:200]
        raise ModelError(
            f"The adapter in {version} does not fit its base ({type(error).__name__}: {reason}); "
            "put back the base that it was trained on, or promote another version."
        ) from error


def merged(network: PreTrainedModel, version: Path) -> PreTrainedModel:
    """The network with the adapters of a version in its weights, and with its head.

    Raises:
        ModelError: as `continued`.
    """
    adapted: Any = continued(network, version)
    whole: PreTrainedModel = adapted.merge_and_unload()
    return whole


def can_be_continued(version: Path, recipe: Recipe) -> bool:
    """Whether a version is adapters of this recipe's rank."""
    return (version / CONFIG).is_file() and read_low_rank(version).rank == recipe.lora_rank


def taken_off(model: PeftModel, *, base: str, revision: str) -> LowRankAdapter:
    """The trained adapters and the head, as they are stored. `base`: where peft finds the base; `revision`: its commit, or ""."""
    config = model.peft_config["default"]
    config.base_model_name_or_path, config.revision, config.inference_mode = base, revision or None, True
    values = {name: sorted(value) if isinstance(value, set) else value for name, value in config.to_dict().items()}
    tensors = {
        key: weight.detach().to("cpu", _STORED if "lora_" in key else torch.float32).contiguous()
        for key, weight in get_peft_model_state_dict(model, save_embedding_layers=False).items()
    }
    return LowRankAdapter.of(values, tensors)


@contextmanager
def _quiet() -> Iterator[None]:
    with warnings.catch_warnings():  # peft 0.21 asks transformers 5.23 by a name that it is about to drop
        warnings.filterwarnings("ignore", "`is_gradient_checkpointing` is deprecated", FutureWarning)
        yield
