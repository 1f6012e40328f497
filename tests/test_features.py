import dataclasses
import logging
import math
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM

from preference.backbone import load_weights
from preference.encoding import encode_answer
from preference.features import Extractors, FeatureExtractor, FeatureRecipe

CPU = torch.device("cpu")
PROMPTS = ["Why?", "Tell me about cats and the moon.", "שלום 👩‍👩‍👧", "0123456789 " * 30, "Why?"]
ANSWERS = ["Because.", "The cat sat on the mat. " * 10, "שלום", "No.", "So."]

Make = Callable[[], FeatureExtractor]


@pytest.fixture
def recipe(tiny_base: Path) -> FeatureRecipe:
    return FeatureRecipe(str(tiny_base), layer=2, max_tokens=64)


@pytest.fixture
def make(recipe: FeatureRecipe, tmp_path: Path) -> Make:
    """Makes extractors that share this test's cache, as two processes do."""
    return lambda: FeatureExtractor(recipe, model_dir=tmp_path, device=CPU)


def cached_files(model_dir: Path) -> list[Path]:
    return sorted(path for path in (model_dir / "features").rglob("*") if path.is_file())


# What features are


def test_features_are_the_mean_of_the_layers_output_over_the_answer_and_its_log_length(
    make: Make, tiny_base: Path, recipe: FeatureRecipe
) -> None:
    extractor = make()
    whole = load_weights(AutoModelForCausalLM, str(tiny_base), dtype=torch.float32)
    for prompt, answer in zip(PROMPTS, ANSWERS, strict=True):
        encoded = encode_answer(extractor.tokenizer, prompt, answer, max_tokens=recipe.max_tokens)
        with torch.inference_mode():
            hidden = whole(input_ids=torch.tensor([encoded.input_ids]), output_hidden_states=True).hidden_states[recipe.layer][0]
        of_answer = hidden[encoded.answer_start : -1]  # (num_tokens, hidden_size)
        expected = torch.cat([of_answer.mean(0), torch.tensor([math.log1p(len(of_answer))])])
        torch.testing.assert_close(extractor.features([prompt], [answer])[0], expected, atol=1e-5, rtol=1e-4)


def test_there_is_a_row_of_float32_on_the_cpu_for_each_answer_in_order(make: Make) -> None:
    extractor = make()
    rows = extractor.features(PROMPTS, ANSWERS)
    assert (rows.shape, rows.dtype, rows.device) == (torch.Size([5, extractor.size]), torch.float32, CPU)
    assert extractor.size == 33
    backwards = make().features(PROMPTS[::-1], ANSWERS[::-1])
    assert torch.equal(backwards.flip(0), rows)


def test_features_in_a_batch_equal_features_alone(make: Make, tmp_path: Path) -> None:
    prompts = [f"{n} " * (1 + n * 7 % 40) for n in range(90)]  # more tokens than one forward pass takes
    answers = [f"cat {n} " * (1 + n * 11 % 30) for n in range(90)]
    together = make().features(prompts, answers)
    shutil.rmtree(tmp_path / "features")
    extractor = make()
    alone = torch.cat([extractor.features([p], [a]) for p, a in zip(prompts, answers, strict=True)])
    torch.testing.assert_close(together, alone, atol=1e-4, rtol=0)


def test_the_prompt_is_read_with_the_answer(make: Make) -> None:
    one, other = make().features(["Is it good?", "Is it bad?"], ["Yes.", "Yes."])
    assert not torch.allclose(one[:-1], other[:-1], atol=1e-4)
    assert one[-1] == other[-1]  # the same length


def test_an_empty_answer_has_finite_features_and_no_answers_have_none(make: Make) -> None:
    extractor = make()
    assert torch.equal(extractor.features(["Why?"], [" "]), torch.zeros(1, 33))
    assert extractor.features([], []).shape == (0, 33)


def test_as_many_answers_as_prompts_are_needed(make: Make) -> None:
    with pytest.raises(ValueError, match="shorter"):
        make().features(["a", "b"], ["c"])


# The cache


def test_cached_features_equal_computed_ones(make: Make, tmp_path: Path) -> None:
    computed = make().features(PROMPTS, ANSWERS)
    assert len(cached_files(tmp_path)) == 5
    assert torch.equal(make().features(PROMPTS, ANSWERS), computed)


def test_what_is_cached_is_not_computed_again_and_the_rest_is(make: Make, tmp_path: Path) -> None:
    make().features(["Why?"], ["Because."])
    (path,) = cached_files(tmp_path)
    mark = np.arange(33, dtype=np.float32)
    path.write_bytes(mark.tobytes())
    rows = make().features(["What?", "Why?"], ["That.", "Because."])
    assert torch.equal(rows[1], torch.from_numpy(mark))
    assert not torch.equal(rows[0], rows[1])
    assert len(cached_files(tmp_path)) == 2


def test_white_space_round_an_answer_does_not_matter_and_where_a_prompt_ends_does(make: Make, tmp_path: Path) -> None:
    extractor = make()
    extractor.features(["Why? ", "Why?"], ["Because.", " Because."])
    assert len(cached_files(tmp_path)) == 2
    extractor.features(["Why?"], ["Because.\n"])
    assert len(cached_files(tmp_path)) == 2
    extractor.features(["Why?B"], ["ecause."])
    assert len(cached_files(tmp_path)) == 3


DAMAGE: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda content: b"",
    "one byte": lambda content: content[:1],
    "truncated in a number": lambda content: content[:-7],
    "truncated between numbers": lambda content: content[:-4],
    "too long": lambda content: content + content,
    "no numbers": lambda content: b"\xff" * len(content),
    "an endless number": lambda content: content[:-4] + np.float32(np.inf).tobytes(),
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
def test_a_damaged_file_is_computed_again_and_mended(
    make: Make, tmp_path: Path, caplog: pytest.LogCaptureFixture, damage: Callable[[bytes], bytes]
) -> None:
    computed = make().features(["Why?"], ["Because."])
    (path,) = cached_files(tmp_path)
    whole = path.read_bytes()
    path.write_bytes(damage(whole))
    assert torch.equal(make().features(["Why?"], ["Because."]), computed)
    logged = [record.getMessage() for record in caplog.records if record.name == "preference.features"]
    assert logged == [f"the cached feature {path.name} is damaged; computing it again"]
    assert path.read_bytes() == whole


def test_a_deleted_file_or_folder_is_computed_again(make: Make, tmp_path: Path) -> None:
    extractor = make()
    computed = extractor.features(PROMPTS, ANSWERS)
    cached_files(tmp_path)[0].unlink()
    torch.testing.assert_close(extractor.features(PROMPTS, ANSWERS), computed, atol=1e-4, rtol=0)
    shutil.rmtree(tmp_path / "features")
    assert torch.equal(extractor.features(PROMPTS, ANSWERS), computed)
    assert len(cached_files(tmp_path)) == 5


def test_a_cache_that_cannot_be_written_costs_speed_and_not_the_answer(
    make: Make, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    extractor = make()
    computed = extractor.features(["Why?"], ["Because."])
    shutil.rmtree(tmp_path / "features")
    (tmp_path / "features").write_text("in the way")
    with caplog.at_level(logging.WARNING):
        assert torch.equal(extractor.features(["Why?"], ["Because."]), computed)
    assert any(message.startswith("a feature could not be kept in ") for message in caplog.messages)


def test_no_temporary_file_stays_behind(make: Make, tmp_path: Path) -> None:
    make().features(PROMPTS, ANSWERS)
    assert len(cached_files(tmp_path)) == 5
    assert not [path for path in cached_files(tmp_path) if path.name.startswith(".")]


def test_threads_of_two_extractors_on_one_cache_agree(make: Make) -> None:
    alone = make().features(PROMPTS, ANSWERS)
    one, other = make(), make()
    with ThreadPoolExecutor(8) as pool:
        calls = [
            pool.submit(extractor.features, [*PROMPTS, f"{n // 4}"], [*ANSWERS, "x"])
            for n in range(16)
            for extractor in (one, other)
        ]
    rows = [call.result() for call in calls]
    for n, found in enumerate(rows):
        assert torch.equal(found[:5], alone)
        torch.testing.assert_close(found[5], rows[n // 8 * 8][5], atol=1e-4, rtol=0)


# Keys and sharing


def test_another_layer_length_or_base_has_another_key(recipe: FeatureRecipe, tiny_chat_base: Path) -> None:
    others = [
        recipe,
        dataclasses.replace(recipe, layer=3),
        dataclasses.replace(recipe, max_tokens=65),
        dataclasses.replace(recipe, base=str(tiny_chat_base)),
        dataclasses.replace(recipe, base="embedded"),
    ]
    assert len({other.key() for other in others}) == 5
    assert dataclasses.replace(recipe).key() == recipe.key()


def test_another_layer_has_other_features_in_a_folder_of_its_own(recipe: FeatureRecipe, make: Make, tmp_path: Path) -> None:
    two = make().features(["Why?"], ["Because."])
    deeper = FeatureExtractor(dataclasses.replace(recipe, layer=3), model_dir=tmp_path, device=CPU)
    assert not torch.allclose(deeper.features(["Why?"], ["Because."]), two, atol=1e-4)
    assert len(list((tmp_path / "features").iterdir())) == 2


def test_weights_replaced_in_their_folder_are_not_served_from_the_old_cache(tiny_base: Path, tmp_path: Path) -> None:
    base = shutil.copytree(tiny_base, tmp_path / "base")
    recipe = FeatureRecipe(str(base), layer=2, max_tokens=64)
    before = FeatureExtractor(recipe, model_dir=tmp_path, device=CPU).features(["Why?"], ["Because."])
    network = load_weights(AutoModelForCausalLM, str(base), dtype=torch.float32)
    network.get_input_embeddings().weight.mul_(2)  # type: ignore[operator]
    network.save_pretrained(base)
    after = FeatureExtractor(recipe, model_dir=tmp_path, device=CPU).features(["Why?"], ["Because."])
    assert not torch.allclose(before, after, atol=1e-4)


def test_versions_that_share_a_recipe_share_one_extractor_even_when_many_ask_at_once(
    recipe: FeatureRecipe, tmp_path: Path
) -> None:
    extractors = Extractors(tmp_path, CPU)
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(extractors, [dataclasses.replace(recipe) for _ in range(8)]))
    assert len({id(extractor) for extractor in found}) == 1
    assert extractors(dataclasses.replace(recipe, layer=1)) is not found[0]
