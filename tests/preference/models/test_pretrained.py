import json
import logging
import os
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModel, AutoModelForCausalLM
from transformers.utils import logging as transformers_logging

from preference.errors import ModelError
from preference.models.device import pick_device
from preference.models.files import title
from preference.models.fingerprint import fingerprint
from preference.models.pretrained import load_tokenizer, load_weights, locate, quiet_transformers
from tests.support.tiny_bases import save_tiny_base

Copy = Callable[[], Path]


@pytest.fixture
def copy(tiny_base: Path, tmp_path: Path) -> Copy:
    """A copy of the tiny base that a test may damage."""
    return lambda: shutil.copytree(tiny_base, tmp_path / "damaged")


def refusal(call: Callable[[], object]) -> str:
    with pytest.raises(ModelError) as caught:
        call()
    return str(caught.value)


def edit(path: Path, **changes: Any) -> None:
    values = {**json.loads(path.read_text(encoding="utf-8")), **changes}
    path.write_text(json.dumps({k: v for k, v in values.items() if v is not None}), encoding="utf-8")


# Names


def test_a_folder_or_an_id_is_loaded_by_its_own_name(tiny_base: Path, tmp_path: Path) -> None:
    assert locate(str(tiny_base), tmp_path) == str(tiny_base)
    assert locate("org/model", tmp_path) == "org/model"
    assert not list(tmp_path.iterdir())


def test_people_read_a_models_last_name() -> None:
    assert title("embedded") == "SmolLM2-135M-Instruct"
    assert title("org/model-1B") == "model-1B"
    assert title("/models/ours/") == "ours"


def test_the_embedded_model_is_converted_once_to_safetensors_that_load(embedded_dir: Path) -> None:
    folder = Path(locate("embedded", embedded_dir))
    changed = (folder / "config.json").stat().st_mtime_ns
    assert folder == embedded_dir / "embedded" / fingerprint("embedded")
    assert locate("embedded", embedded_dir) == str(folder)
    assert (folder / "config.json").stat().st_mtime_ns == changed
    assert not list(folder.parent.glob(".unfinished-*"))
    tokenizer = load_tokenizer(str(folder))
    assert tokenizer.chat_template
    assert (tokenizer.eos_token, tokenizer.pad_token) == ("<|im_end|>", "<|endoftext|>")
    network = load_weights(AutoModel, str(folder), num_hidden_layers=1)
    assert next(iter(network.parameters())).shape == (len(tokenizer), 576)


# Devices


def test_cpu_is_the_cpu_and_auto_says_why(caplog: pytest.LogCaptureFixture) -> None:
    assert pick_device("cpu") == torch.device("cpu")
    with caplog.at_level(logging.INFO):
        device = pick_device("auto")
    reason = "a GPU is visible" if device.type == "cuda" else "no GPU is visible"
    assert caplog.messages == [f"device {device.type} (auto: {reason})"]


def test_a_device_that_is_not_here_is_refused_at_once() -> None:
    absent = [f"cuda:{torch.cuda.device_count()}"]
    absent += ["cuda"] if not torch.cuda.is_available() else []
    absent += ["mps"] if not torch.backends.mps.is_available() else []
    for device in absent:
        message = refusal(lambda device=device: pick_device(device))  # type: ignore[misc]
        assert message.startswith(f"DEVICE={device}, but torch ")
        assert "; set DEVICE=c" in message


# Tokenizers


def test_the_pad_token_differs_from_the_end_of_sequence_token(tiny_base: Path) -> None:
    tokenizer = load_tokenizer(str(tiny_base))
    assert (tokenizer.eos_token, tokenizer.pad_token) == ("<|im_end|>", "<|endoftext|>")


@pytest.mark.parametrize("pad_token", [None, "<|im_end|>"])
def test_a_spare_token_becomes_the_pad_token_if_that_is_missing_or_ends_sequences(copy: Copy, pad_token: str | None) -> None:
    folder = copy()
    edit(folder / "tokenizer_config.json", pad_token=pad_token)
    tokenizer = load_tokenizer(str(folder))
    assert (tokenizer.eos_token, tokenizer.pad_token) == ("<|im_end|>", "<|endoftext|>")


def test_without_a_spare_token_the_end_of_sequence_token_pads(tmp_path: Path) -> None:
    tokenizer = load_tokenizer(str(save_tiny_base(tmp_path / "bare", eos_token="</s>", pad_token=None)))
    assert (tokenizer.eos_token, tokenizer.pad_token) == ("</s>", "</s>")


def test_a_tokenizer_without_an_end_of_sequence_token_is_refused(copy: Copy) -> None:
    folder = copy()
    edit(folder / "tokenizer_config.json", eos_token=None)
    expected = f"The tokenizer of {str(folder)!r} has no end-of-sequence token; name a model that writes text."
    assert refusal(lambda: load_tokenizer(str(folder))) == expected


@pytest.mark.parametrize("content", [b"", b'{"added_tokens": [', b"null", b"[]", b"{}", b"\xff\xfe\x00"])
def test_a_damaged_tokenizer_is_refused(copy: Copy, content: bytes) -> None:
    folder = copy()
    (folder / "tokenizer.json").write_bytes(content)
    message = refusal(lambda: load_tokenizer(str(folder)))
    assert message.startswith(f"The model {str(folder)!r} cannot be loaded (")
    assert message.endswith("; name a folder with safetensors weights, or an id that this machine can fetch.")


def test_a_tokenizer_of_a_later_format_is_refused_though_its_library_raises_a_bare_exception(copy: Copy) -> None:
    folder = copy()
    edit(folder / "tokenizer.json", pre_tokenizer={"type": "NotYetInvented"})
    assert "cannot be loaded (Exception: data did not match any variant" in refusal(lambda: load_tokenizer(str(folder)))


# Weights


def test_loaded_weights_ask_for_no_gradient_and_do_not_drop_out(tiny_base: Path) -> None:
    network = load_weights(AutoModelForCausalLM, str(tiny_base), device=torch.device("cpu"), dtype=torch.float32)
    assert not network.training
    assert not any(parameter.requires_grad for parameter in network.parameters())
    assert {parameter.dtype for parameter in network.parameters()} == {torch.float32}


def test_fewer_layers_are_loaded_if_fewer_are_asked_for(tiny_base: Path) -> None:
    whole = dict(load_weights(AutoModel, str(tiny_base)).named_parameters())
    half = dict(load_weights(AutoModel, str(tiny_base), num_hidden_layers=2).named_parameters())
    assert {name for name in whole if "layers.2." in name or "layers.3." in name} == whole.keys() - half.keys()
    assert half
    for name, parameter in half.items():
        assert torch.equal(parameter, whole[name]), name


@pytest.mark.parametrize("damage", ["missing", "empty", "half", "noise"])
def test_missing_or_damaged_weights_are_refused(copy: Copy, damage: str) -> None:
    folder = copy()
    weights = folder / "model.safetensors"
    whole = weights.read_bytes()
    content = {"empty": b"", "half": whole[: len(whole) // 2], "noise": b"\xff" * len(whole)}
    weights.unlink()
    if damage in content:
        weights.write_bytes(content[damage])
    message = refusal(lambda: load_weights(AutoModel, str(folder)))
    assert message.startswith(f"The model {str(folder)!r} cannot be loaded (")
    assert message.endswith("; name a folder with safetensors weights, or an id that this machine can fetch.")


def test_a_model_that_this_machine_cannot_fetch_is_named(tmp_path: Path) -> None:
    for name in ("no-such-org/no-such-model", str(tmp_path / "nowhere"), str(tmp_path)):
        assert f"The model {name!r} cannot be loaded (" in refusal(lambda name=name: load_weights(AutoModel, name))  # type: ignore[misc]


def test_pickled_weights_are_not_read(copy: Copy, tmp_path: Path) -> None:
    class Opened:
        def __reduce__(self) -> tuple[Any, ...]:
            return os.mkdir, (str(tmp_path / "executed"),)

    folder = copy()
    (folder / "model.safetensors").unlink()
    torch.save({"weight": Opened()}, folder / "pytorch_model.bin")
    assert "no file named model.safetensors" in refusal(lambda: load_weights(AutoModel, str(folder)))
    assert not (tmp_path / "executed").exists()


def test_code_that_comes_with_a_model_is_not_run(copy: Copy, tmp_path: Path) -> None:
    folder = copy()
    (folder / "theirs.py").write_text(f"import os\nos.mkdir({str(tmp_path / 'executed')!r})\n")
    edit(folder / "config.json", model_type="theirs", auto_map={"AutoConfig": "theirs.Config", "AutoModel": "theirs.Model"})
    assert f"The model {str(folder)!r} cannot be loaded (" in refusal(lambda: load_weights(AutoModel, str(folder)))
    assert not (tmp_path / "executed").exists()


def test_an_error_without_a_text_is_still_explained() -> None:
    class Silent:
        @staticmethod
        def from_pretrained(path: str, **options: Any) -> None:
            raise OSError

    assert "The model 'x' cannot be loaded (OSError: ); name a folder" in refusal(lambda: load_weights(Silent, "x"))


def test_a_load_leaves_what_transformers_logs_as_it_is(tiny_base: Path) -> None:
    before = transformers_logging.get_verbosity(), transformers_logging.is_progress_bar_enabled()
    load_weights(AutoModel, str(tiny_base))
    refusal(lambda: load_tokenizer("/nowhere"))
    assert (transformers_logging.get_verbosity(), transformers_logging.is_progress_bar_enabled()) == before


def test_transformers_bars_and_advice_can_be_silenced(
    tiny_base: Path, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    level, bars = transformers_logging.get_verbosity(), transformers_logging.is_progress_bar_enabled()
    try:
        transformers_logging.set_verbosity_warning()
        transformers_logging.enable_progress_bar()
        load_weights(AutoModel, str(tiny_base), num_hidden_layers=2)
        assert "LOAD REPORT" in caplog.text  # on the layers that were not loaded
        assert "Loading weights" in capfd.readouterr().err
        caplog.clear()
        quiet_transformers()
        load_weights(AutoModel, str(tiny_base), num_hidden_layers=2)
        assert caplog.messages == []
        assert capfd.readouterr().err == ""
    finally:
        transformers_logging.set_verbosity(level)
        if bars:
            transformers_logging.enable_progress_bar()


def test_models_that_are_loaded_at_once_are_whole_and_so_are_those_after_them(tiny_base: Path) -> None:
    """As a backend does that starts: its generator in one thread, its champion's backbone in another."""

    def load(number: int) -> set[tuple[str, torch.dtype]]:
        auto_class, dtype = [(AutoModel, torch.float32), (AutoModelForCausalLM, torch.bfloat16)][number % 2]
        network = load_weights(auto_class, str(tiny_base), dtype=dtype, device=torch.device("cpu"))
        return {(weight.device.type, weight.dtype) for weight in network.parameters()}

    with ThreadPoolExecutor(4) as pool:
        loaded = list(pool.map(load, range(40)))
    assert loaded == [{("cpu", torch.float32)}, {("cpu", torch.bfloat16)}] * 20
    assert load(0) == {("cpu", torch.float32)}
