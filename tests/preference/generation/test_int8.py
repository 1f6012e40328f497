from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM

from preference.errors import ModelError
from preference.generation.adapters import Adapters
from preference.generation.int8 import Int8Linear, check_int8, multiply_in_int8
from preference.generation.jobs import Adapter, write_all
from preference.models.pretrained import load_tokenizer, load_weights, locate
from tests.conftest import REPOSITORY
from tests.support.adapters import by_peft, save_adapter
from tests.support.tolerance import FEATURES, assert_close
from tests.support.word_models import MakeGenerator

IDS = torch.tensor([[5, 9, 30, 77, 41, 8, 22, 60]])
CPU = torch.device("cpu")
TEXT = (REPOSITORY / "demo" / "prompts.txt").read_text(encoding="utf-8")[:3000]
needs_vnni = pytest.mark.skipif(not torch.cpu._is_vnni_supported(), reason="the processor has no AVX-512 VNNI")


def load(base: Path) -> Any:
    return load_weights(AutoModelForCausalLM, str(base), dtype=torch.float32)


def logits(model: Any) -> torch.Tensor:
    with torch.inference_mode():
        found: torch.Tensor = model(input_ids=IDS).logits[0]
    return found


def error(found: torch.Tensor, wanted: torch.Tensor) -> float:
    return float((found - wanted).norm() / wanted.norm())


class OneLayer(torch.nn.Module):
    """A linear layer alone, whose "tokens" are lines of what it reads; one input is 500 times as large as the others."""

    def __init__(self) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(1)
        self.read = torch.randn(40, 96, generator=generator)
        self.read[:, 7] *= 500
        self.layer = torch.nn.Linear(96, 64)
        self.layer.weight.data = torch.randn(64, 96, generator=generator)
        self.layer.weight.data[:, 7] /= 500
        self.requires_grad_(False)

    def forward(self, input_ids: torch.Tensor, use_cache: bool = False) -> torch.Tensor:
        found: torch.Tensor = self.layer(self.read[input_ids % len(self.read)])
        return found


@needs_vnni
def test_one_large_input_leaves_the_others_their_digits() -> None:
    model = OneLayer()
    wanted = model(IDS)

    multiply_in_int8(model, IDS[0].tolist())

    assert isinstance(model.layer, Int8Linear)
    assert error(model(IDS), wanted) < 0.02  # rounded with all others it would leave none


@needs_vnni
def test_a_row_is_rounded_by_itself_and_a_bias_is_added() -> None:
    model = OneLayer()
    model.layer.bias.data += 30
    wanted = model(IDS)
    multiply_in_int8(model, IDS[0].tolist())

    together = model(IDS)[0]

    assert error(together - 30, wanted[0] - 30) < 0.02
    for place, number in enumerate(IDS[0].tolist()):
        assert_close(model(torch.tensor([[number]]))[0, 0], together[place], within=FEATURES)


@needs_vnni
def test_a_model_predicts_nearly_what_it_did_and_all_its_linear_layers_are_in_8_bits(tiny_chat_base: Path) -> None:
    model = load(tiny_chat_base)
    wanted = logits(model)

    multiply_in_int8(model, IDS[0].tolist())

    assert {type(layer) for layer in model.modules() if isinstance(layer, torch.nn.Linear)} == {Int8Linear}
    assert 0 < error(logits(model), wanted) < 0.03


@needs_vnni
def test_the_embedded_model_reads_a_text_with_the_perplexity_that_it_has_in_float32(embedded_dir: Path) -> None:
    path = locate("embedded", embedded_dir)
    tokenizer, model = load_tokenizer(path), load_weights(AutoModelForCausalLM, path, dtype=torch.float32)
    seen, read = (
        tokenizer(text)["input_ids"]
        for text in ("Which is larger, a lake or an ocean? An ocean: the biggest lakes would be small bays of one.", TEXT)
    )

    exact = perplexity(model, read)
    multiply_in_int8(model, seen)

    assert len(read) > 200
    assert perplexity(model, read) == pytest.approx(exact, rel=0.02)


def perplexity(model: Any, ids: list[int]) -> float:
    with torch.inference_mode():
        text = torch.tensor([ids])
        return float(model(input_ids=text, labels=text).loss.exp())


@needs_vnni
def test_an_adapter_is_merged_before_it_is_rounded_and_the_base_comes_back(tiny_chat_base: Path, tmp_path: Path) -> None:
    adapter: Adapter = save_adapter(tiny_chat_base, tmp_path / "1", seed=1)
    model, wanted = load(tiny_chat_base), logits(by_peft(load(tiny_chat_base), adapter.folder))
    multiply_in_int8(model, IDS[0].tolist())
    base, adapters = logits(model), Adapters(model)

    for _ in range(2):
        adapters.use(adapter)
        assert error(logits(model), wanted) < 0.03 < error(base, wanted)
        adapters.use(None)
        assert_close(logits(model), base, within=FEATURES)


@needs_vnni
def test_a_seed_gives_the_same_answers_alone_and_beside_others(make: MakeGenerator, words_base: Path) -> None:
    generator = make(words_base, dtype="int8")
    prompts = [f"w{n} w{n + 1}" for n in range(20, 26)]

    together = write_all(generator, prompts, seeds=range(6))

    assert [write_all(generator, [prompt], seeds=[seed])[0] for seed, prompt in enumerate(prompts)] == together


@pytest.mark.parametrize(("device", "has_vnni"), [("cuda", True), ("cpu", False)])
def test_elsewhere_it_is_refused_with_what_to_do(device: str, has_vnni: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cpu, "_is_vnni_supported", lambda: has_vnni)

    with pytest.raises(ModelError, match=f"DTYPE=int8 is for a CPU with AVX-512 VNNI, and the generator is on {device} "):
        check_int8(torch.device(device))
