import dataclasses
import logging
import math
import shutil
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn.modules.module import register_module_forward_hook
from transformers import (
    AutoModelForCausalLM,
    BloomConfig,
    FalconH1Config,
    Gemma2Config,
    GemmaConfig,
    GPT2Config,
    GPTNeoConfig,
    Llama4TextConfig,
    LlamaConfig,
    MistralConfig,
    PretrainedConfig,
    PreTrainedModel,
    Qwen2Config,
)

from preference.models.encoding import encode_answer
from preference.models.pretrained import load_weights
from preference.reward_model.feature_extractor import FeatureExtractor, FeatureRecipe
from preference.reward_model.style_features import NUM_STYLE, style
from tests.support.tolerance import FEATURES, assert_close

CPU = torch.device("cpu")
MAX_TOKENS = 64
PROMPTS = ["Why?", "Tell me about cats and the moon.", "שלום 👩‍👩‍👧", "0123456789 " * 30, "Why?"]
ANSWERS = ["Because.", "The cat sat on the mat. " * 10, "שלום", "No.", "So."]
LONGER = "Question: what is a reward model? A number for every answer that people"  # long enough to be worth sharing

Make = Callable[..., FeatureExtractor]


@pytest.fixture
def recipe(tiny_base: Path) -> FeatureRecipe:
    return FeatureRecipe(str(tiny_base), layers=(1, 3), max_tokens=MAX_TOKENS)


@pytest.fixture
def make(recipe: FeatureRecipe, tmp_path: Path) -> Make:
    """Makes extractors with an empty cache of their own; keyword arguments change the recipe."""
    num_made = 0

    def make(**changes: Any) -> FeatureExtractor:
        nonlocal num_made
        num_made += 1
        made = FeatureExtractor(dataclasses.replace(recipe, **changes), model_dir=tmp_path / f"models-{num_made}", device=CPU)
        assert isinstance(made.shares_prompts, bool)  # which the first use computes, before rows are counted
        return made

    return make


def read_alone(make: Make, prompts: Sequence[str], answers: Sequence[str], **changes: Any) -> torch.Tensor:
    """The features of answers that are asked for one at a time, so that none shares a row with another."""
    extractor = make(**changes)
    return torch.cat([extractor.features([p], [a]) for p, a in zip(prompts, answers, strict=True)])


def read_whole(extractor: FeatureExtractor, prompts: Sequence[str], answers: Sequence[str]) -> torch.Tensor:
    """The features as their definition has them, of the model with all its layers and its language head."""
    recipe, rows = extractor.recipe, []
    whole = load_weights(AutoModelForCausalLM, recipe.base, dtype=torch.float32)
    for prompt, answer in zip(prompts, answers, strict=True):
        encoded = encode_answer(extractor.tokenizer, prompt, answer, max_tokens=recipe.max_tokens)
        with torch.inference_mode():
            hidden = whole(input_ids=torch.tensor([encoded.input_ids]), output_hidden_states=True).hidden_states
        of_answer = [hidden[layer][0, encoded.answer_start : -1] for layer in recipe.layers]  # each (num_tokens, hidden_size)
        long = math.log1p(len(of_answer[0]))
        means = [states.sum(0) / max(1, len(states)) * long for states in of_answer]
        rows.append(torch.cat([*means, torch.tensor([long]), torch.from_numpy(style(prompt, answer))]))
    return torch.stack(rows)


@contextmanager
def counted_rows() -> Iterator[list[int]]:
    """The number of rows of each forward pass of a backbone."""
    batches: list[int] = []

    def count(module: torch.nn.Module, args: Any, inputs: dict[str, Any], output: Any) -> None:
        if isinstance(module, PreTrainedModel):
            batches.append(len(inputs["input_ids"]))

    handle = register_module_forward_hook(count, with_kwargs=True)
    try:
        yield batches
    finally:
        handle.remove()


# What features are


@pytest.mark.parametrize("layers", [(1,), (2,), (1, 3), (1, 2, 3)])
def test_features_are_the_layers_means_times_the_log_length_then_that_length_then_the_style(
    make: Make, layers: tuple[int, ...]
) -> None:
    extractor = make(layers=layers)
    features = extractor.features(PROMPTS, ANSWERS)
    assert extractor.size == len(layers) * 32 + 1 + NUM_STYLE
    assert_close(features, read_whole(extractor, PROMPTS, ANSWERS), within=FEATURES)


def test_the_last_layer_is_read_before_the_norm_for_the_language_head(make: Make, tiny_base: Path) -> None:
    whole = load_weights(AutoModelForCausalLM, str(tiny_base), dtype=torch.float32)
    whole.model.norm = torch.nn.Identity()
    extractor = make(layers=(4,))
    encoded = encode_answer(extractor.tokenizer, "Why?", "Because.", max_tokens=MAX_TOKENS)
    with torch.inference_mode():
        hidden = whole(input_ids=torch.tensor([encoded.input_ids]), output_hidden_states=True).hidden_states[-1][0]
    of_answer = hidden[encoded.answer_start : -1]
    expected = of_answer.mean(0) * math.log1p(len(of_answer))
    assert_close(extractor.features(["Why?"], ["Because."])[0, :32], expected, within=FEATURES)


def test_there_is_a_row_of_float32_on_the_cpu_for_each_answer_in_order(make: Make) -> None:
    extractor = make()
    rows = extractor.features(PROMPTS, ANSWERS)
    assert (rows.shape, rows.dtype, rows.device) == (torch.Size([5, extractor.size]), torch.float32, CPU)
    backwards = extractor.features(PROMPTS[::-1], ANSWERS[::-1])
    assert torch.equal(backwards.flip(0), rows), "read back"
    assert_close(make().features(PROMPTS[::-1], ANSWERS[::-1]).flip(0), rows, within=FEATURES)


def test_features_in_a_batch_equal_features_alone(make: Make) -> None:
    prompts = [f"{n} " * (1 + n * 7 % 40) for n in range(90)]  # more tokens than one forward pass takes
    answers = [f"cat {n} " * (1 + n * 11 % 30) for n in range(90)]
    extractor = make()
    with counted_rows() as batches:
        together = extractor.features(prompts, answers)
    assert sum(batches) == 90
    assert 1 < len(batches) < 20
    assert_close(together, read_alone(make, prompts, answers), within=FEATURES)


def test_the_prompt_is_read_with_the_answer(make: Make) -> None:
    extractor = make()
    one, other = extractor.features(["Is it good?", "Is it bad?"], ["Yes.", "Yes."])
    assert not torch.allclose(one[:64], other[:64], atol=1e-4)
    assert one[64] == other[64]  # the same length


def test_an_empty_answer_has_finite_features_and_no_answers_have_none(make: Make) -> None:
    extractor = make()
    (row,) = extractor.features(["Why?"], [" "])
    assert torch.equal(row, torch.cat([torch.zeros(65), torch.from_numpy(style("Why?", ""))]))
    assert row.isfinite().all()
    assert extractor.features([], []).shape == (0, extractor.size)


LENGTHS = {
    "40 letters": "A" * 40,
    "8,000 words": "moon " * 8_000,
    "one word of 40,000": "z" * 40_000,
    "40,000 blank lines": "x" + "\n" * 40_000 + "x",
    "40,000 marks": "?!" * 20_000,
    "8,000 families": "👩‍👩‍👧" * 8_000,
}


@pytest.mark.parametrize("answer", LENGTHS.values(), ids=LENGTHS)
def test_an_answer_of_any_length_has_finite_features(make: Make, answer: str) -> None:
    assert make().features(["Why?", answer], [answer, "Because."]).isfinite().all()


def test_as_many_answers_as_prompts_are_needed(make: Make) -> None:
    with pytest.raises(ValueError, match="shorter"):
        make().features(["a", "b"], ["c"])


def test_answers_that_were_cut_are_counted_once_when_they_are_computed(make: Make) -> None:
    extractor = make()
    assert extractor.num_cut == 0
    extractor.features(["Why?"], ["Because."])
    assert extractor.num_cut == 0
    cut_prompts, cut_answers = ["cat " * 100, "Why?", "cat " * 100], ["Because.", "moon " * 100, "moon " * 100]
    extractor.features(["Why?", *cut_prompts], ["So.", *cut_answers])
    assert extractor.num_cut == 3
    extractor.features(cut_prompts, cut_answers)  # from the cache
    assert extractor.num_cut == 3
    extractor.features(["dog " * 100] * 4, ["Because."] * 4)
    assert extractor.num_cut == 4


# Answers to one prompt


@pytest.mark.parametrize("base", ["tiny_base", "tiny_chat_base"])
@pytest.mark.parametrize("num_answers", [2, 3, 20])
def test_answers_that_share_their_prompt_have_the_features_of_each_alone(
    make: Make, request: pytest.FixtureRequest, base: str, num_answers: int
) -> None:
    where = str(request.getfixturevalue(base))
    answers = [f"The {n} cat" + " sat" * (n % 5) for n in range(num_answers - 1)] + [""]
    prompts = [LONGER] * num_answers
    extractor = make(base=where)
    with counted_rows() as batches:
        together = extractor.features(prompts, answers)
    assert extractor.shares_prompts
    assert sum(batches) == math.ceil(num_answers / 8)  # _ROW_ANSWERS
    assert_close(together, read_alone(make, prompts, answers, base=where), within=FEATURES)


@pytest.mark.parametrize("base", ["tiny_base", "tiny_chat_base"])
def test_answers_of_several_prompts_in_any_order_have_the_features_of_each_alone(
    make: Make, request: pytest.FixtureRequest, base: str
) -> None:
    where = str(request.getfixturevalue(base))
    prompts = [LONGER, "Why?", LONGER + "!", LONGER, "", "cat " * 99, LONGER + "!", "Why?", LONGER, "cat " * 99]
    answers = ["Yes.", "So.", "Yes.", "No, the moon.", "x", "a mat", "", "Because it is.", "Yes, and true.", "a moon"]
    together = make(base=where).features(prompts, answers)
    assert together.unique(dim=0).shape[0] == 10
    assert_close(together, read_alone(make, prompts, answers, base=where), within=FEATURES)


def test_in_bfloat16_features_differ_by_its_rounding_and_stay_float32(make: Make) -> None:
    answers = ["Yes.", "No, it is the moon.", "The cat sat on the mat."]
    half = make(dtype="bfloat16")
    with counted_rows() as batches:
        rounded = half.features([LONGER] * 3, answers)
    exact = make().features([LONGER] * 3, answers)

    assert (sum(batches), rounded.dtype) == (1, torch.float32)
    means = slice(2 * half.hidden_size)
    assert 0 < (rounded - exact)[:, means].abs().max() < 0.02 * exact[:, means].abs().max()
    assert torch.equal(rounded[:, 2 * half.hidden_size :], exact[:, 2 * half.hidden_size :])  # length and style are no sums


def test_one_prompt_that_is_cut_differently_for_each_answer_is_read_for_each(make: Make) -> None:
    prompts, answers = ["The moon and the mat. " * 20] * 3, ["Yes.", "No, it is a cat that sat there.", "Yes!"]
    extractor = make()
    with counted_rows() as batches:
        together = extractor.features(prompts, answers)
    assert extractor.num_cut == 3
    assert sum(batches) == 2  # the first and the last leave the prompt the same room
    assert_close(together, read_alone(make, prompts, answers), within=FEATURES)


def test_long_answers_to_a_short_prompt_are_read_in_rows_of_their_own(make: Make) -> None:
    extractor = make()
    with counted_rows() as batches:
        extractor.features(["Why?"] * 3, [f"{n} The cat sat on the mat and looked." * 2 for n in range(3)])
    assert sum(batches) == 3


def test_many_votes_on_the_same_answers_are_read_once(make: Make) -> None:
    extractor = make()
    with counted_rows() as batches:
        rows = extractor.features([LONGER] * 1000, ["Yes.", "No."] * 250 + ["No.", "Yes. "] * 250)
    assert sum(batches) == 1
    yes, no = make().features([LONGER] * 2, ["Yes.", "No."])
    expected = torch.stack([yes, no] * 250 + [no, yes] * 250)
    assert_close(rows, expected, within=FEATURES)


# Architectures

SIZES: dict[str, Any] = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 1024,
}
OLD_SIZES: dict[str, Any] = {"n_embd": 32, "n_layer": 4, "n_head": 4}
HYBRID: dict[str, Any] = {"mamba_n_heads": 8, "mamba_d_head": 8, "mamba_d_ssm": 64, "mamba_d_state": 8, "mamba_n_groups": 1}
CHUNKED: dict[str, Any] = {"attention_chunk_size": 16, "num_local_experts": 2, "intermediate_size_mlp": 64, "moe_layers": []}
LOCAL: dict[str, Any] = {"window_size": 16, "attention_types": [[["global", "local"], 2]]}
ARCHITECTURES: dict[str, tuple[Callable[..., PretrainedConfig], bool]] = {  # whether answers may share their prompt
    "Llama": (lambda **vocabulary: LlamaConfig(**SIZES, **vocabulary), True),
    "Qwen 2": (lambda **vocabulary: Qwen2Config(**SIZES, **vocabulary), True),
    "GPT-2, positions of its own": (lambda **vocabulary: GPT2Config(**OLD_SIZES, **vocabulary), True),
    "Gemma": (lambda **vocabulary: GemmaConfig(**SIZES, head_dim=8, **vocabulary), True),
    "Mistral, a window wider than any answer": (lambda **vocabulary: MistralConfig(**SIZES, **vocabulary), True),
    "Mistral, a small window": (lambda **vocabulary: MistralConfig(**SIZES, sliding_window=16, **vocabulary), False),
    "Gemma 2, a window in every second layer": (
        lambda **vocabulary: Gemma2Config(**SIZES, head_dim=8, sliding_window=16, **vocabulary), False,
    ),
    "Llama 4, chunks": (lambda **vocabulary: Llama4TextConfig(**SIZES, **CHUNKED, head_dim=8, **vocabulary), False),
    "GPT-Neo, a window that counts places": (
        lambda **vocabulary: GPTNeoConfig(hidden_size=32, num_layers=4, num_heads=4, **LOCAL, **vocabulary), False,
    ),
    "BLOOM, ALiBi": (lambda **vocabulary: BloomConfig(hidden_size=32, n_layer=4, n_head=4, **vocabulary), False),
    "Falcon-H1, attention and state": (lambda **vocabulary: FalconH1Config(**SIZES, **HYBRID, **vocabulary), False),
}  # fmt: skip


@pytest.fixture(scope="module", params=ARCHITECTURES)
def architecture(request: pytest.FixtureRequest, tiny_base: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, bool]:
    """A folder with a tiny model of that architecture and the tokenizer of `tiny_base`, and whether prompts may be shared."""
    config, may_share = ARCHITECTURES[request.param]
    folder = shutil.copytree(
        tiny_base, tmp_path_factory.mktemp("base") / "base", ignore=shutil.ignore_patterns("*.safetensors", "config.json")
    )
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(config(vocab_size=400, bos_token_id=1, eos_token_id=1, pad_token_id=2))
    model.save_pretrained(folder)
    return str(folder), may_share


def test_an_architecture_shares_prompts_only_if_the_features_are_the_same(make: Make, architecture: tuple[str, bool]) -> None:
    base, may_share = architecture
    prompts = [*[LONGER] * 3, *["Tell me of the moon. " * 3] * 9]
    answers = ["Yes.", "The cat sat on the mat.", "", *[f"{n} moons" + " and cats" * (n % 3) for n in range(9)]]
    extractor = make(base=base)
    with counted_rows() as batches:
        together = extractor.features(prompts, answers)
    assert extractor.shares_prompts == may_share
    assert sum(batches) == (3 if may_share else 12)
    assert_close(together, read_alone(make, prompts, answers, base=base), within=FEATURES)
    assert together[:, :64].abs().max() > 1e-2  # what is equal is not nothing


def test_in_bfloat16_the_same_architectures_share_prompts(make: Make, architecture: tuple[str, bool]) -> None:
    base, may_share = architecture
    assert make(base=base, dtype="bfloat16").shares_prompts == may_share


def test_of_every_architecture_the_layers_own_output_is_read(make: Make, architecture: tuple[str, bool]) -> None:
    extractor = make(base=architecture[0], layers=(1, 2))  # a backbone of two layers: its norm must not reach the second
    prompts, answers = [LONGER, LONGER, "Why?"], ["Yes.", "No, it is the moon.", "So."]
    torch.testing.assert_close(
        extractor.features(prompts, answers), read_whole(extractor, prompts, answers), atol=1e-5, rtol=1e-4
    )


def test_an_architecture_that_refuses_our_mask_is_named_and_read_apart(
    make: Make, tiny_base: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    base = shutil.copytree(tiny_base, tmp_path / "base", ignore=shutil.ignore_patterns("*.safetensors", "config.json"))
    AutoModelForCausalLM.from_config(BloomConfig(vocab_size=400, hidden_size=32, n_layer=4, n_head=4)).save_pretrained(base)
    with caplog.at_level(logging.INFO, logger="pairloop.reward_model"):
        assert not make(base=str(base)).shares_prompts
    assert [message for message in caplog.messages if message.startswith(f"{base} reads a prompt once for each answer (")]


# Keys, threads and sharing


def test_other_layers_another_length_or_base_have_another_key(recipe: FeatureRecipe, tiny_chat_base: Path) -> None:
    others = [
        recipe,
        dataclasses.replace(recipe, layers=(1,)),
        dataclasses.replace(recipe, layers=(1, 2)),
        dataclasses.replace(recipe, layers=(1, 2, 3)),
        dataclasses.replace(recipe, max_tokens=65),
        dataclasses.replace(recipe, base=str(tiny_chat_base)),
        dataclasses.replace(recipe, base="embedded"),
        dataclasses.replace(recipe, dtype="bfloat16"),
    ]
    assert len({other.key() for other in others}) == 8
    assert dataclasses.replace(recipe).key() == recipe.key()


def test_another_layer_has_other_features_in_a_folder_of_its_own(recipe: FeatureRecipe, tmp_path: Path) -> None:
    first, deeper = (
        FeatureExtractor(dataclasses.replace(recipe, layers=layers), model_dir=tmp_path, device=CPU).features(["Why?"], ["So."])
        for layers in ((2,), (3,))
    )
    assert not torch.allclose(first[:, :32], deeper[:, :32], atol=1e-4)
    assert len(list((tmp_path / "features").iterdir())) == 2


def test_weights_replaced_in_their_folder_are_not_served_from_the_old_cache(
    recipe: FeatureRecipe, tiny_base: Path, tmp_path: Path
) -> None:
    base = shutil.copytree(tiny_base, tmp_path / "base")
    recipe = dataclasses.replace(recipe, base=str(base))
    before = FeatureExtractor(recipe, model_dir=tmp_path, device=CPU).features(["Why?"], ["Because."])
    network = load_weights(AutoModelForCausalLM, str(base), dtype=torch.float32)
    network.get_input_embeddings().weight.mul_(2)  # type: ignore[operator]
    network.save_pretrained(base)
    after = FeatureExtractor(recipe, model_dir=tmp_path, device=CPU).features(["Why?"], ["Because."])
    assert not torch.allclose(before[:, :64], after[:, :64], atol=1e-4)


def test_threads_that_share_an_extractor_get_the_features_of_their_own_answers(make: Make) -> None:
    extractor = make()
    alone = read_alone(make, PROMPTS, ANSWERS)
    with ThreadPoolExecutor(8) as pool:
        calls = [pool.submit(extractor.features, [*PROMPTS[n % 5 :], f"{n // 2}"], [*ANSWERS[n % 5 :], "x"]) for n in range(20)]
    for n, call in enumerate(calls):
        assert_close(call.result()[:-1], alone[n % 5 :], within=FEATURES)
