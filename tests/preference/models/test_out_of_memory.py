"""Memory that runs out while answers are read: smaller batches from then on, the same numbers."""

import logging
import mmap
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch.nn.modules.module import register_module_forward_pre_hook
from transformers import AutoModel

from preference.errors import ModelError
from preference.models.out_of_memory import release_file_pages
from preference.models.pretrained import load_weights
from preference.reward_model.feature_extractor import FeatureExtractor, FeatureRecipe
from preference.reward_model.model import SequenceRewardModel
from tests.support.reward_models import make_sequence

CPU = torch.device("cpu")
PROMPTS = [f"Prompt {n // 3} of some length" for n in range(30)]
ANSWERS = [f"Answer {n}. " * (1 + n % 7) for n in range(30)]


@contextmanager
def memory_for(num_tokens: int) -> Iterator[list[int]]:
    """A GPU that holds that many padded tokens: any network that is given more fails as on CUDA. Gives what it was given."""
    given: list[int] = []

    def refuse(module: torch.nn.Module, inputs: tuple[Any, ...]) -> None:
        if isinstance(module, torch.nn.Embedding):
            given.append(inputs[0].numel())
            if given[-1] > num_tokens:
                raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB. GPU 0 has a total capacity of ...")

    hook = register_module_forward_pre_hook(refuse)
    try:
        yield given
    finally:
        hook.remove()


@pytest.mark.parametrize("num_tokens", [400, 150, 100])
def test_features_are_the_same_and_the_memory_is_not_overrun_again(
    num_tokens: int, tiny_base: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    recipe = FeatureRecipe(str(tiny_base), (1, 3), 96)
    expected = FeatureExtractor(recipe, model_dir=tmp_path / "much", device=CPU).features(PROMPTS, ANSWERS)
    extractor = FeatureExtractor(recipe, model_dir=tmp_path / "little", device=CPU)

    with memory_for(num_tokens) as given:
        features = extractor.features(PROMPTS, ANSWERS)
        torch.testing.assert_close(features, expected, atol=1e-4, rtol=1e-4)
        num_refused = sum(count > num_tokens for count in given)
        extractor.features(PROMPTS, [f"{answer}!" for answer in ANSWERS])

    assert 1 <= num_refused <= 8
    assert len([message for message in caplog.messages if message.startswith("out of memory with ")]) >= num_refused


def test_one_answer_that_takes_more_memory_than_there_is_says_so(tiny_base: Path, tmp_path: Path) -> None:
    extractor = FeatureExtractor(FeatureRecipe(str(tiny_base), (1, 3), 96), model_dir=tmp_path, device=CPU)

    with memory_for(5), pytest.raises(ModelError, match=r"needs more memory for one answer than there is; take a smaller"):
        extractor.features(PROMPTS, ANSWERS)


@pytest.fixture
def model(tiny_base: Path) -> SequenceRewardModel:
    return make_sequence(tiny_base)


def test_scores_are_the_same_with_less_memory(model: SequenceRewardModel, caplog: pytest.LogCaptureFixture) -> None:
    expected = model.score(PROMPTS, ANSWERS)

    with memory_for(300), caplog.at_level(logging.WARNING):
        torch.testing.assert_close(model.score(PROMPTS, ANSWERS), expected, atol=1e-4, rtol=1e-4)
    with memory_for(5), pytest.raises(ModelError, match=r"takes more memory than there is; take a smaller REWARD_BASE"):
        model.score(PROMPTS, ANSWERS)

    assert [message for message in caplog.messages if message.startswith("out of memory with ")]


def test_another_error_of_the_network_is_not_taken_for_want_of_memory(model: SequenceRewardModel) -> None:
    def fail(module: torch.nn.Module, inputs: tuple[Any, ...]) -> None:
        raise RuntimeError("a crash of another kind")

    hook = register_module_forward_pre_hook(fail)
    try:
        with pytest.raises(RuntimeError, match="another kind"):
            model.score(PROMPTS, ANSWERS)
    finally:
        hook.remove()


class OnFullGpu(AutoModel):
    """Loads models that no GPU has the memory for, and remembers the last one."""

    loaded: "weakref.ref[Any]"

    @classmethod
    def from_pretrained(cls, *names: Any, **options: Any) -> Any:
        model: Any = AutoModel.from_pretrained(*names, **options)
        cls.loaded = weakref.ref(model)
        model._apply = refuse_memory  # which moves a network, as its `to` does
        return model


def refuse_memory(*_: object) -> None:
    raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB. GPU 0 has a total capacity of ...")


@pytest.mark.parametrize("is_shared", [False, True])
def test_weights_that_do_not_fit_are_refused_in_a_sentence_and_given_back(is_shared: bool, tiny_base: Path) -> None:
    with pytest.raises(ModelError) as refused:
        load_weights(OnFullGpu, str(tiny_base), device=CPU, is_shared=is_shared)

    assert str(refused.value) == (
        f"The model '{tiny_base}' does not fit into the memory that cpu has free; end what else uses it, or name a smaller model."
    )
    assert OnFullGpu.loaded() is None, "while the error is held"


def resident(tensor: torch.Tensor) -> float:
    """The share of a tensor's memory that is mapped into this process just now, by /proc/self/pagemap."""
    first, count = tensor.data_ptr() // mmap.PAGESIZE, tensor.nbytes // mmap.PAGESIZE
    with Path("/proc/self/pagemap").open("rb") as pages:
        pages.seek(8 * first)
        entries = np.frombuffer(pages.read(8 * count), np.uint64)
    return float((entries >> np.uint64(63)).mean())


@pytest.mark.skipif(not Path("/proc/self/pagemap").exists(), reason="Linux only")
def test_what_a_file_has_leaves_the_memory_and_is_read_again_and_what_was_changed_stays(tmp_path: Path) -> None:
    values = torch.arange(2**20, dtype=torch.float32)
    for name in ("kept", "changed"):
        save_file({"weight": values}, tmp_path / name)
    (kept, changed), own = (load_file(tmp_path / name)["weight"] for name in ("kept", "changed")), values.clone()
    changed[5] = -1.0
    assert min(float(tensor.sum()) for tensor in (kept, changed, own)) > 1e11  # all are read
    assert resident(kept) == 1

    release_file_pages([kept, changed, own])

    assert resident(kept) < 0.01 < 0.99 < min(resident(changed), resident(own))
    assert torch.equal(kept, values) and torch.equal(own, values)
    assert changed[5:7].tolist() == [-1.0, 6.0]
