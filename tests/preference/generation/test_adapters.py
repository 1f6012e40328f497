import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

from preference.errors import ModelError
from preference.generation.adapters import Adapters
from preference.generation.jobs import Adapter
from preference.models.low_rank import CONFIG, WEIGHTS
from preference.models.pretrained import load_weights
from tests.support.adapters import by_peft, save_adapter
from tests.support.tolerance import FEATURES, assert_close

IDS = torch.tensor([[5, 9, 30, 77, 41, 8]])


@pytest.fixture(scope="module")
def adapters_of(tiny_chat_base: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Adapter]:
    return [save_adapter(tiny_chat_base, tmp_path_factory.mktemp("adapters") / str(seed), seed=seed) for seed in range(1, 7)]


def load(base: Path, dtype: torch.dtype = torch.float32) -> Any:
    return load_weights(AutoModelForCausalLM, str(base), dtype=dtype)


def logits(model: Any) -> torch.Tensor:
    with torch.inference_mode():
        found: torch.Tensor = model(input_ids=IDS).logits[0].float()
    return found


def test_each_adapter_computes_as_peft_does_and_the_base_comes_back(tiny_chat_base: Path, adapters_of: list[Adapter]) -> None:
    model = load(tiny_chat_base)
    base, adapters = logits(model), Adapters(model)
    wanted = {adapter: logits(by_peft(load(tiny_chat_base), adapter.folder)) for adapter in adapters_of[:2]}

    for adapter in (*wanted, None, *reversed(wanted)):
        adapters.use(adapter)
        assert_close(logits(model), wanted.get(adapter, base) if adapter else base, within=FEATURES)

    first, second = wanted.values()
    assert (first - base).abs().max() > 0.1 and (first - second).abs().max() > 0.1


def test_the_base_is_the_very_weights_that_were_loaded(tiny_chat_base: Path, adapters_of: list[Adapter]) -> None:
    model = load(tiny_chat_base)
    before = {name: weight.data_ptr() for name, weight in model.named_parameters()}
    adapters = Adapters(model)

    adapters.use(adapters_of[0])
    changed = {name for name, weight in model.named_parameters() if weight.data_ptr() != before[name]}
    adapters.use(None)

    assert len(changed) == 7 and all(".layers.3." in name for name in changed)
    assert {name: weight.data_ptr() for name, weight in model.named_parameters()} == before


def test_more_adapters_than_stay_merged_take_turns(tiny_chat_base: Path, adapters_of: list[Adapter]) -> None:
    model = load(tiny_chat_base)
    adapters = Adapters(model)
    first = []
    for adapter in adapters_of:
        adapters.use(adapter)
        first.append(logits(model))

    for adapter, before in zip(adapters_of, first, strict=True):
        adapters.use(adapter)
        assert_close(logits(model), before, within=FEATURES)


def test_a_small_change_is_rounded_once(tiny_chat_base: Path, tmp_path: Path) -> None:
    """Added to weights in bfloat16, much of it would be lost: it is smaller than half of their last digit."""
    adapter = save_adapter(tiny_chat_base, tmp_path / "small", size=0.02)
    exact, half = load(tiny_chat_base), load(tiny_chat_base, torch.bfloat16)
    name = "model.layers.3.mlp.up_proj"
    before = exact.get_submodule(name).weight.clone()
    Adapters(exact).use(adapter)
    Adapters(half).use(adapter)

    merged = exact.get_submodule(name).weight
    assert torch.equal(half.get_submodule(name).weight, (before.bfloat16().float() + (merged - before)).bfloat16())
    assert half.get_submodule(name).weight.dtype == torch.bfloat16


def broken(folder: Path, adapter: Adapter, change: Callable[[Path], object]) -> Adapter:
    shutil.copytree(adapter.folder, folder)
    change(folder)
    return Adapter("g9-20261121-062026", folder)


def edit_config(folder: Path, **changes: object) -> None:
    path = folder / CONFIG
    path.write_text(json.dumps({**json.loads(path.read_text(encoding="utf-8")), **changes}), encoding="utf-8")


def lose_a_tensor(folder: Path) -> None:
    tensors = load_file(folder / WEIGHTS)
    save_file(dict(list(tensors.items())[1:]), folder / WEIGHTS)


@pytest.mark.parametrize(
    ("change", "kind"),
    [
        (lambda folder: (folder / WEIGHTS).unlink(), "FileNotFoundError"),
        (lambda folder: (folder / WEIGHTS).write_bytes(b"cut"), "SafetensorError"),
        (lambda folder: (folder / CONFIG).write_text("[]"), "TypeError"),
        (lambda folder: edit_config(folder, peft_type="IA3"), "ValueError: not a plain LoRA adapter"),
        (lambda folder: edit_config(folder, use_dora=True), "ValueError: not a plain LoRA adapter"),
        (lambda folder: edit_config(folder, r=0), "ZeroDivisionError"),
        (lose_a_tensor, ""),
    ],
)
def test_a_damaged_adapter_is_refused_and_what_is_used_stays(
    tiny_chat_base: Path, adapters_of: list[Adapter], tmp_path: Path, change: Callable[[Path], object], kind: str
) -> None:
    model = load(tiny_chat_base)
    adapters = Adapters(model)
    adapters.use(adapters_of[0])
    before = logits(model)

    with pytest.raises(ModelError, match=rf"The adapter in {tmp_path / 'broken'} cannot be read \({kind}.*; restore "):
        adapters.use(broken(tmp_path / "broken", adapters_of[0], change))

    assert_close(logits(model), before, within=FEATURES)


def test_an_adapter_of_another_base_is_refused(tiny_chat_base: Path, adapters_of: list[Adapter], tmp_path: Path) -> None:
    import transformers

    config = transformers.AutoConfig.from_pretrained(tiny_chat_base)
    config.intermediate_size = 48
    model: Any = AutoModelForCausalLM.from_config(config)

    with pytest.raises(
        ModelError, match=r"is an adapter of another base: model\.layers\.3\.mlp\.\w+ is no linear layer of (32|64) to"
    ):
        Adapters(model).use(adapters_of[0])


def test_an_adapter_is_forgotten_with_its_memory(tiny_chat_base: Path, adapters_of: list[Adapter]) -> None:
    model = load(tiny_chat_base)
    base, adapters = logits(model), Adapters(model)
    adapters.use(adapters_of[0])

    adapters.forget(adapters_of[0])
    adapters.forget(adapters_of[1])

    assert_close(logits(model), base, within=FEATURES)
