import dataclasses
import json
import math
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from preference.errors import ModelError
from preference.reward_model.extractors import Extractors
from preference.reward_model.feature_extractor import FeatureRecipe
from preference.reward_model.model import (
    Description,
    FrozenRewardModel,
    RewardModel,
    load_saved,
)
from preference.reward_model.reward_head import RewardHead
from tests.support.reward_models import MAX_TOKENS, make_adapter, make_sequence
from tests.support.tiny_bases import save_tiny_base
from tests.support.tolerance import REWARDS, assert_close

CPU = torch.device("cpu")
LAYERS = (1, 3)
PROMPTS = ["Why?", "Tell me about cats and the moon.", "שלום 👩‍👩‍👧", "0123456789 " * 30, "Why?", "x"]
ANSWERS = ["Because.", "The cat sat on the mat. " * 10, "שלום", "No.", "So.", ""]
WEIGHTS = {"frozen": "model.safetensors", "sequence": "model.safetensors", "adapter": "adapter_model.safetensors"}
KINDS = list(WEIGHTS)


def make_head(feature_size: int) -> RewardHead:
    generator = torch.Generator().manual_seed(3)
    return RewardHead(*(torch.randn(feature_size, generator=generator) for _ in range(2)))


@pytest.fixture
def extractors(tmp_path: Path) -> Extractors:
    return Extractors(tmp_path / "models", CPU)


@pytest.fixture
def make(tiny_base: Path, extractors: Extractors) -> Callable[[str], RewardModel]:
    def make(kind: str) -> RewardModel:
        if kind == "sequence":
            return make_sequence(tiny_base)
        if kind == "adapter":
            return make_adapter(tiny_base, extractors)
        extractor = extractors(FeatureRecipe(str(tiny_base), LAYERS, MAX_TOKENS))
        description = Description("frozen", str(tiny_base), MAX_TOKENS, layers=LAYERS)
        return FrozenRewardModel(description, make_head(extractor.size), extractor)

    return make


Make = Callable[[str], RewardModel]


@pytest.fixture
def saved(make: Make, tmp_path: Path) -> Callable[[str], Path]:
    """Saves a model of that kind and gives its folder."""

    def save(kind: str) -> Path:
        folder = tmp_path / kind
        folder.mkdir()
        make(kind).save(folder)
        return folder

    return save


Saved = Callable[[str], Path]


def refusal(folder: Path, extractors: Extractors) -> str:
    with pytest.raises(ModelError) as caught:
        load_saved(folder, extractor=extractors, device=CPU)
    return str(caught.value)


# Scores


@pytest.mark.parametrize("kind", KINDS)
def test_an_answers_score_alone_is_its_score_in_a_batch(make: Make, kind: str) -> None:
    model = make(kind)
    together = model.score(PROMPTS, ANSWERS)
    assert (together.shape, together.dtype, together.device) == (torch.Size([6]), torch.float32, CPU)
    assert len(set(together.tolist())) == 6
    alone = torch.cat([make(kind).score([p], [a]) for p, a in zip(PROMPTS, ANSWERS, strict=True)])
    assert_close(together, alone, within=REWARDS)


def test_sequence_scores_keep_their_order_over_several_forward_passes(make: Make) -> None:
    model = make("sequence")
    prompts = [f"{n} " * (1 + n * 7 % 40) for n in range(90)]
    answers = [f"cat {n} " * (1 + n * 11 % 30) for n in range(90)]
    alone = torch.cat([model.score([p], [a]) for p, a in zip(prompts, answers, strict=True)])
    assert_close(model.score(prompts, answers), alone, within=REWARDS)


@pytest.mark.parametrize("kind", KINDS)
def test_no_answers_have_no_scores(make: Make, kind: str) -> None:
    assert make(kind).score([], []).shape == (0,)


@pytest.mark.parametrize("kind", KINDS)
def test_threads_get_the_scores_of_their_own_answers(make: Make, kind: str) -> None:
    model = make(kind)
    alone = [float(model.score([p], [a])[0]) for p, a in zip(PROMPTS, ANSWERS, strict=True)]
    with ThreadPoolExecutor(6) as pool:
        scores = list(pool.map(lambda n: float(model.score([PROMPTS[n % 6]], [ANSWERS[n % 6]])[0]), range(30)))
    assert_close(scores, alone * 5, within=REWARDS)


def test_a_head_is_linear_and_gives_the_mean_answer_reward_0() -> None:
    head = make_head(4)
    features = torch.stack([head.mean, head.mean + torch.tensor([0.0, 2.0, 0.0, 0.0])])
    assert_close(head.rewards(features), torch.tensor([0.0, 2 * head.weight[1]]), within=REWARDS)


def test_a_frozen_reward_is_the_heads_of_the_answers_features(make: Make, extractors: Extractors, tiny_base: Path) -> None:
    features = extractors(FeatureRecipe(str(tiny_base), LAYERS, MAX_TOKENS)).features(PROMPTS, ANSWERS)
    head = make_head(features.shape[1])
    assert_close(make("frozen").score(PROMPTS, ANSWERS), (features - head.mean) @ head.weight, within=REWARDS)


def test_a_sequence_reward_is_centred_then_scaled(make: Make) -> None:
    model = make("sequence")
    rewards = model.score(PROMPTS, ANSWERS)
    model.description = dataclasses.replace(model.description, center=0.25, scale=4.0)
    assert_close(model.score(PROMPTS, ANSWERS), (rewards - 0.25) / 4, within=REWARDS)


def test_a_sequence_is_read_at_its_end_token_and_padding_does_not_reach_it(tiny_base: Path) -> None:
    model = make_sequence(tiny_base)
    assert model.tokenizer.pad_token_id != model.tokenizer.eos_token_id
    assert model.network.config.pad_token_id == model.tokenizer.pad_token_id
    short, _ = model.score(["Why?"] * 2, ["Because.", "Because " * 50])
    other_ending, _ = model.score(["Why?"] * 2, ["Because!", "Because " * 50])
    assert float(short) == pytest.approx(float(model.score(["Why?"], ["Because."])[0]), abs=1e-5)
    assert abs(float(short - other_ending)) > 1e-5


def test_scores_in_a_batch_hold_if_the_end_token_has_to_pad(tmp_path: Path) -> None:
    model = make_sequence(save_tiny_base(tmp_path / "bare", eos_token="</s>", pad_token=None))
    assert model.tokenizer.pad_token_id == model.tokenizer.eos_token_id
    alone = torch.cat([model.score([p], [a]) for p, a in zip(PROMPTS, ANSWERS, strict=True)])
    assert_close(model.score(PROMPTS, ANSWERS), alone, within=REWARDS)


# Confidence


@pytest.mark.parametrize("difference", [0.0, 1e-9, 0.3, 5.0, 800.0, 1e6, 1e300, math.inf])
def test_confidence_lies_between_one_half_and_one_and_never_overflows(make: Make, difference: float) -> None:
    model = make("sequence")
    for reward1, reward2 in ((difference, 0.0), (0.0, difference), (-difference, 0.0)):
        assert 0.5 <= model.confidence(reward1, reward2) <= 1
    assert model.confidence(difference, 0.0) == model.confidence(0.0, difference)


def test_confidence_is_the_bradley_terry_probability_of_the_better_answer(make: Make) -> None:
    model = make("sequence")
    assert model.confidence(1.5, 1.5) == 0.5
    assert model.confidence(math.log(3), 0) == pytest.approx(0.75)
    assert model.confidence(-1, 1) > model.confidence(-0.5, 1) > 0.5


def test_a_higher_temperature_makes_a_model_less_sure(make: Make) -> None:
    model = make("sequence")
    model.description = dataclasses.replace(model.description, temperature=4.0)
    assert model.confidence(0, 4 * math.log(3)) == pytest.approx(0.75)


# Saving and loading


@pytest.mark.parametrize("kind", KINDS)
def test_a_saved_model_loads_and_scores_as_before(make: Make, saved: Saved, kind: str, tmp_path: Path) -> None:
    loaded = load_saved(saved(kind), extractor=Extractors(tmp_path / "elsewhere", CPU), device=CPU)
    model = make(kind)
    assert type(loaded) is type(model)
    assert loaded.description == model.description
    assert_close(loaded.score(PROMPTS, ANSWERS), model.score(PROMPTS, ANSWERS), within=REWARDS)


def test_a_saved_model_keeps_its_layers_center_scale_and_temperature(make: Make, tmp_path: Path, extractors: Extractors) -> None:
    for kind in KINDS:
        model = make(kind)
        model.description = dataclasses.replace(model.description, center=0.5, scale=3.0, temperature=0.7)
        (tmp_path / kind).mkdir()
        model.save(tmp_path / kind)
        loaded = load_saved(tmp_path / kind, extractor=extractors, device=CPU)
        assert loaded.description == model.description
        assert loaded.description.layers == (LAYERS if kind == "frozen" else ())
        assert_close(loaded.score(PROMPTS, ANSWERS), model.score(PROMPTS, ANSWERS), within=REWARDS)


@pytest.mark.parametrize("kind", KINDS)
def test_a_loaded_model_saves_again_with_equal_weights(saved: Saved, extractors: Extractors, kind: str, tmp_path: Path) -> None:
    folder = saved(kind)
    (tmp_path / "again").mkdir()
    load_saved(folder, extractor=extractors, device=CPU).save(tmp_path / "again")
    before, after = (load_file(path / WEIGHTS[kind]) for path in (folder, tmp_path / "again"))
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)


@pytest.mark.parametrize("kind", KINDS)
def test_a_saved_model_is_safetensors_with_a_tokenizer_and_a_description(saved: Saved, kind: str) -> None:
    folder = saved(kind)
    names = {path.name for path in folder.iterdir()}
    assert {WEIGHTS[kind], "tokenizer.json", "reward_model.json"} <= names
    assert not [name for name in names if name.endswith((".bin", ".pt", ".pkl"))]
    assert json.loads((folder / "reward_model.json").read_text())["kind"] == kind


def test_another_project_or_process_can_load_the_same_sequence_model_without_its_base(
    saved: Saved, extractors: Extractors
) -> None:
    folder = saved("sequence")
    description = folder / "reward_model.json"
    description.write_text(json.dumps({**json.loads(description.read_text()), "base": "/gone"}))
    assert load_saved(folder, extractor=extractors, device=CPU).score(["Why?"], ["So."]).shape == (1,)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("share", [0.0, 0.5, 0.99])
def test_truncated_weights_are_refused(saved: Saved, extractors: Extractors, kind: str, share: float) -> None:
    folder = saved(kind)
    weights = folder / WEIGHTS[kind]
    content = weights.read_bytes()
    weights.write_bytes(content[: int(len(content) * share)])
    what = f"The adapter in {folder} cannot be read (" if kind == "adapter" else f"The model {str(folder)!r} cannot be loaded ("
    assert what in refusal(folder, extractors)


@pytest.mark.parametrize("kind", KINDS)
def test_missing_weights_are_refused(saved: Saved, extractors: Extractors, kind: str) -> None:
    folder = saved(kind)
    (folder / WEIGHTS[kind]).unlink()
    assert WEIGHTS[kind] in refusal(folder, extractors)


def test_a_head_of_another_size_is_refused(saved: Saved, extractors: Extractors, tiny_base: Path) -> None:
    folder = saved("frozen")
    make_head(7).save(folder)
    assert refusal(folder, extractors) == f"{folder} holds a head for another backbone than {str(tiny_base)!r}."


@pytest.mark.parametrize("sizes", [{"weight": 7}, {"weight": 7, "mean": 8}, {"weight": 0, "mean": 0}])
def test_a_head_that_is_not_two_vectors_of_one_size_is_refused(
    saved: Saved, extractors: Extractors, sizes: dict[str, int]
) -> None:
    folder = saved("frozen")
    tensors = {name: torch.zeros((size,) if size else (2, 2)) for name, size in sizes.items()}
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    assert f"The model {str(folder)!r} cannot be loaded (" in refusal(folder, extractors)


@pytest.mark.parametrize("kind", ["frozen", "adapter"])
def test_a_model_without_its_base_is_refused(saved: Saved, extractors: Extractors, kind: str) -> None:
    folder = saved(kind)
    description = folder / "reward_model.json"
    description.write_text(json.dumps({**json.loads(description.read_text()), "base": "/gone"}))
    assert "The model '/gone' cannot be loaded (" in refusal(folder, extractors)


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (None, "FileNotFoundError"),
        ("", "JSONDecodeError"),
        ("[]", "TypeError"),
        ("{}", "KeyError"),
        ('{"kind": "frozen", "base": "b", "max_tokens": 8, "layer": 18}', "KeyError"),  # of a version before there were layers
        ('{"kind": "frozen", "base": "b", "max_tokens": 8, "layers": 18}', "TypeError"),
        ('{"kind": "frozen", "base": "b", "max_tokens": 8, "layers": []}', "ValueError"),
        ('{"kind": "sequence", "base": "b", "max_tokens": 8, "layers": [18]}', "ValueError"),
        ('{"kind": "adapter", "base": "b", "max_tokens": 8, "layers": [], "dtype": "int4"}', "ValueError"),
        ('{"kind": "frozen", "base": "b", "max_tokens": 8, "layers": [1], "colour": 1}', "TypeError"),
    ],
)
def test_a_missing_or_damaged_description_is_named(saved: Saved, extractors: Extractors, content: Any, kind: str) -> None:
    folder = saved("sequence")
    path = folder / "reward_model.json"
    path.unlink()
    if content is not None:
        path.write_text(content)
    assert refusal(folder, extractors) == f"{path} is missing or damaged ({kind})."
