import dataclasses
import logging
import random
import tomllib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression

from demo.stack import REPOSITORY
from preference.errors import ModelError
from preference.labelling.pairs import PreferencePair
from preference.labelling.prompts import Prompt, Turn
from preference.reward_model.extractors import Extractors
from preference.reward_model.feature_extractor import FeatureExtractor, FeatureRecipe
from preference.reward_model.model import FrozenRewardModel, RewardModel, load_saved
from preference.reward_model.style_features import NUM_STYLE
from tests.support.hub_cache import hub_cache
from tests.support.tolerance import FEATURES, REWARDS, TRAINED_REWARDS, assert_close
from trainer.training.calibration import fit_temperature
from trainer.training.concepts import concept_directions
from trainer.training.frozen_head import feature_recipe, train_head
from trainer.training.recipes import FROZEN, Recipe
from trainer.training.trained import TrainingResult

CPU = torch.device("cpu")
_TEXT = "the cat sat on a mat and looked at moon short answer number model people prefer question house tree road boat"
WORDS = _TEXT.split()


@pytest.fixture
def extractor(tiny_base: Path, extractors: Extractors) -> FeatureExtractor:
    return extractors(FeatureRecipe(str(tiny_base), layers=(1, 2, 3), max_tokens=256))


def recipe(**changes: Any) -> Recipe:
    return dataclasses.replace(FROZEN, **{"style_share": 0.5, "concept_share": 0.0, "priors": (1.0,), **changes})


def sentence(rng: random.Random, *more: str, num_words: int = 6) -> str:
    """Words in a random order, with `more` among them."""
    words = [*rng.choices(WORDS, k=num_words), *more]
    rng.shuffle(words)
    return " ".join(words).capitalize() + "."


def pairs_where(chosen_word: str, rejected_word: str, *, num_pairs: int, seed: int = 0, **rest: Any) -> list[PreferencePair]:
    """Pairs of random sentences, each about a prompt of its own, that differ in one word."""
    rng = random.Random(f"{chosen_word} {rejected_word} {seed}")
    return [
        PreferencePair(f"{seed} {i}: {sentence(rng)}", sentence(rng, chosen_word), sentence(rng, rejected_word), **rest)
        for i in range(num_pairs)
    ]


def turned(pair: PreferencePair, **changes: Any) -> PreferencePair:
    """The opposite vote."""
    return dataclasses.replace(pair, chosen=pair.rejected, rejected=pair.chosen, **changes)


def random_votes(num_prompts: int, *, votes: int = 1) -> list[PreferencePair]:
    """Votes without a rule, several on each pair of answers: only memory of a prompt says how the next vote on it goes."""
    rng = random.Random(7)
    pairs = [PreferencePair(f"{i}: {sentence(rng)}", sentence(rng), sentence(rng)) for i in range(num_prompts)]
    return [pair for pair in pairs for _ in range(votes)]


def gaps_of(model: RewardModel, pairs: Sequence[PreferencePair]) -> torch.Tensor:
    """(num_pairs,) reward of chosen - rejected."""
    prompts = [pair.prompt for pair in pairs]
    return model.score(prompts, [pair.chosen for pair in pairs]) - model.score(prompts, [pair.rejected for pair in pairs])


def rewards_of(model: RewardModel, pairs: Sequence[PreferencePair]) -> torch.Tensor:
    """(2 * num_pairs,) of the chosen answers, then of the rejected ones."""
    prompts = [pair.prompt for pair in pairs]
    return model.score([*prompts, *prompts], [pair.chosen for pair in pairs] + [pair.rejected for pair in pairs])


def weight_of(trained: TrainingResult) -> torch.Tensor:
    assert isinstance(trained.model, FrozenRewardModel)
    return trained.model.head.weight


# What is learned


def test_what_decides_is_learned_and_holds_for_other_prompts(extractor: FeatureExtractor) -> None:
    trained = train_head(pairs_where("kind", "zxq", num_pairs=60), recipe(), extractor)
    unseen = pairs_where("kind", "zxq", num_pairs=30, seed=1)
    assert float((gaps_of(trained.model, unseen) > 0).float().mean()) > 0.9
    assert trained.gaps is not None
    assert trained.gaps.shape == (60,)
    assert (trained.gaps > 0).mean() > 0.9


def test_a_preference_for_style_is_learnt_too(extractor: FeatureExtractor) -> None:
    rng = random.Random(3)
    pairs = [
        PreferencePair(f"{i}?", f"{(text := sentence(rng))}\n- {sentence(rng)}", f"{text} {sentence(rng)}") for i in range(40)
    ]
    trained = train_head(pairs, recipe(), extractor)
    assert (gaps_of(trained.model, pairs) > 0).all()


def test_rewards_of_the_training_answers_have_mean_0_and_standard_deviation_1(extractor: FeatureExtractor) -> None:
    for pairs in (pairs_where("kind", "zxq", num_pairs=20), random_votes(20)):
        rewards = rewards_of(train_head(pairs, recipe(), extractor).model, pairs)
        assert float(rewards.mean()) == pytest.approx(0, abs=1e-4)
        assert float(rewards.std()) == pytest.approx(1, abs=1e-3)


def test_the_same_pairs_give_the_same_rewards_and_a_saved_head_too(tiny_base: Path, tmp_path: Path) -> None:
    pairs, models = random_votes(20), []
    for name in ("one", "another"):
        extractors = Extractors(tmp_path / name, CPU)
        models.append(train_head(pairs, recipe(), extractors(FeatureRecipe(str(tiny_base), (1, 3), 256))).model)
        models[-1].save(tmp_path / name)
        loaded = load_saved(tmp_path / name, extractor=Extractors(tmp_path / "elsewhere", CPU), device=CPU)
        assert loaded.description == models[-1].description
        assert_close(rewards_of(loaded, pairs), rewards_of(models[-1], pairs), within=REWARDS)
    assert_close(rewards_of(models[0], pairs), rewards_of(models[1], pairs), within=TRAINED_REWARDS)
    temperatures = [model.description.temperature for model in models]
    assert temperatures[0] == pytest.approx(temperatures[1], rel=TRAINED_REWARDS)


@pytest.mark.parametrize("prior", [0.1, 1.0, 30.0])
@pytest.mark.parametrize("share", [0.0, 2.0])
def test_the_head_is_the_optimum_that_scikit_learn_finds(extractor: FeatureExtractor, share: float, prior: float) -> None:
    pairs = [*pairs_where("kind", "zxq", num_pairs=30), *random_votes(30)]
    trained = train_head(pairs, recipe(style_share=0.5, concept_share=share, priors=(prior,)), extractor)

    directions = concept_directions(extractor)
    features = extractor.features([pair.prompt for pair in pairs] * 2, [p.chosen for p in pairs] + [p.rejected for p in pairs])
    spread = features.std(0).where(features.std(0) > 1e-5, torch.inf)
    features = (features - features.mean(0)) / spread
    num_hidden, num_style = 3 * 32, 1 + NUM_STYLE
    scale = torch.tensor([num_hidden**-0.5] * num_hidden + [(0.5 / num_style) ** 0.5] * num_style)
    on_concepts = features[:, :num_hidden] @ (directions / spread)[:, :num_hidden].T  # (120, num_concepts)
    on_concepts = on_concepts / on_concepts.std(0) * (share / len(directions)) ** 0.5
    standard = torch.cat([features * scale, on_concepts], 1).double().numpy()
    gaps = standard[:60] - standard[60:]
    # On (D, 1) and (-D, 0) scikit-learn's loss is C times twice ours, so that half its C is one by our prior.
    peer = LogisticRegression(fit_intercept=False, C=0.5 / prior, tol=1e-10, max_iter=10_000)
    peer.fit(np.vstack([gaps, -gaps]), [1] * 60 + [0] * 60)
    expected = standard @ peer.coef_[0]

    rewards = rewards_of(trained.model, pairs).numpy()
    np.testing.assert_allclose(rewards, expected / expected.std(ddof=1), atol=5e-3)


def test_every_concept_has_a_direction_of_its_own(extractor: FeatureExtractor) -> None:
    concepts = tomllib.loads((REPOSITORY / "trainer" / "training" / "concepts.toml").read_text(encoding="utf-8"))["concept"]
    assert all(min(len(concept["more"]), len(concept["less"])) >= 2 for concept in concepts)
    assert len({concept["name"] for concept in concepts}) == len(concepts)
    texts = [text for concept in concepts for text in (*concept["more"], *concept["less"])]
    assert len(set(texts)) == len(texts)

    directions = concept_directions(extractor)

    assert directions.shape == (len(concepts), extractor.size)
    first = extractor.features(["What do you think about this?"] * 8, [*concepts[0]["more"], *concepts[0]["less"]])
    assert_close(directions[0], first[:4].mean(0) - first[4:].mean(0), within=FEATURES)


def test_concepts_let_a_few_pairs_say_how_much_a_kind_of_answer_counts(extractor: FeatureExtractor) -> None:
    pool = [sentence(random.Random(seed), num_words=4 + seed * 7 % 9) for seed in range(300)]
    features = extractor.features(["Why?"] * len(pool), pool)
    toward = (concept_directions(extractor) / features.std(0).clamp(min=1e-6) ** 2).T
    toward[3 * 32 :] = 0
    accuracy: dict[float, list[float]] = {0.0: [], 10.0: []}
    for liked in (features @ toward)[:, :12].T.tolist():  # people who go by one kind of answer each
        order = [
            (one, other) if liked[one] > liked[other] else (other, one)
            for one, other in zip(range(150), range(150, 300), strict=True)
        ]
        pairs = [PreferencePair(f"Why {better + worse}?", pool[better], pool[worse]) for better, worse in order]
        for share, accuracies in accuracy.items():
            model = train_head(pairs[:20], recipe(concept_share=share), extractor).model
            accuracies.append(float((gaps_of(model, pairs[20:]) > 0).float().mean()))

    assert np.mean(accuracy[10.0]) > np.mean(accuracy[0.0]) + 0.02


def test_a_feature_that_never_varies_and_one_that_is_huge_break_nothing(extractor: FeatureExtractor) -> None:
    pairs = [*[PreferencePair("Say it.", "qz", "zq")] * 4, PreferencePair("Say it.", "zq" * 20_000, "qz")]
    rewards = rewards_of(train_head(pairs, recipe(), extractor).model, pairs)
    assert rewards.isfinite().all()
    assert rewards[0] > rewards[5]


# Weights and margins


def test_a_vote_of_half_a_weight_counts_half(extractor: FeatureExtractor) -> None:
    whole = random_votes(12)
    balanced = [*whole, *[turned(pair, weight=0.5) for pair in whole for _ in range(2)]]
    assert_close(gaps_of(train_head(balanced, recipe(), extractor).model, whole), torch.zeros(12), within=REWARDS)

    leaning = [*whole, *[turned(pair, weight=0.5) for pair in whole]]
    assert float((gaps_of(train_head(leaning, recipe(priors=(0.01,)), extractor).model, whole) > 0).float().mean()) == 1


def test_two_half_votes_equal_one_whole(extractor: FeatureExtractor) -> None:
    whole = random_votes(30)
    halves = [dataclasses.replace(pair, weight=0.5) for pair in whole for _ in range(2)]
    one, two = train_head(whole, recipe(), extractor), train_head(halves, recipe(), extractor)
    # The standard deviation that features are measured in is of 60 answers or of 120, which differ by 4 in 1000.
    torch.testing.assert_close(rewards_of(one.model, whole), rewards_of(two.model, whole), atol=0.02, rtol=0.02)
    assert one.model.description.temperature == pytest.approx(two.model.description.temperature, rel=0.02)
    assert one.gaps is not None
    assert two.gaps is not None
    np.testing.assert_allclose(two.gaps[::2], one.gaps, atol=0.02, rtol=0.02)


def test_a_margin_widens_the_gap_of_its_pairs(extractor: FeatureExtractor) -> None:
    plain, strong = pairs_where("kind", "zxq", num_pairs=30), pairs_where("true", "1234", num_pairs=30)
    ratios = []
    for margin in (0.0, 1.0):
        judged = [*plain, *[dataclasses.replace(pair, margin=margin) for pair in strong]]
        model = train_head(judged, recipe(priors=(1.0,)), extractor).model
        ratios.append(float(gaps_of(model, strong).mean() / gaps_of(model, plain).mean()))
    assert ratios[1] > ratios[0] * 1.1


# Votes that say little


@pytest.mark.parametrize("margin", [0.0, 0.7])
def test_contradicting_votes_give_no_gap_and_no_confidence(extractor: FeatureExtractor, margin: float) -> None:
    pairs = [dataclasses.replace(pair, margin=margin) for pair in random_votes(12)]
    trained = train_head([*pairs, *map(turned, pairs)], recipe(), extractor)
    assert_close(gaps_of(trained.model, pairs), torch.zeros(12), within=REWARDS)
    assert trained.model.confidence(*rewards_of(trained.model, pairs)[[0, 12]].tolist()) == pytest.approx(0.5, abs=REWARDS)


@pytest.mark.parametrize("num_prompts", [1, 2, 12])
def test_ties_alone_give_every_answer_the_same_reward(extractor: FeatureExtractor, num_prompts: int) -> None:
    ties = [dataclasses.replace(pair, kind="tie", weight=0.5) for pair in random_votes(num_prompts)]
    pairs = [*ties, *map(turned, ties)]
    trained = train_head(pairs, recipe(), extractor)
    assert_close(rewards_of(trained.model, pairs), torch.zeros(2 * len(pairs)), within=REWARDS)
    assert trained.model.description.temperature == 1
    assert trained.model.confidence(*rewards_of(trained.model, pairs)[:2].tolist()) == pytest.approx(0.5, abs=REWARDS)
    assert (trained.gaps is None) == (num_prompts < 5)
    assert trained.gaps is None or not trained.gaps.any()


def test_identical_answers_have_no_gap_and_disturb_no_other_pair(extractor: FeatureExtractor) -> None:
    same = [dataclasses.replace(pair, rejected=pair.chosen) for pair in random_votes(8)]
    alone = train_head(same, recipe(), extractor).model
    assert_close(rewards_of(alone, same), torch.zeros(16), within=REWARDS)
    mixed = train_head([*same, *pairs_where("kind", "zxq", num_pairs=30)], recipe(), extractor).model
    assert_close(gaps_of(mixed, same), torch.zeros(8), within=REWARDS)
    assert float((gaps_of(mixed, pairs_where("kind", "zxq", num_pairs=30, seed=1)) > 0).float().mean()) > 0.9


def test_one_prompt_with_500_votes_is_learned_and_cannot_be_cross_validated(extractor: FeatureExtractor) -> None:
    pair = random_votes(1)[0]
    trained = train_head([*[pair] * 300, *[turned(pair)] * 200], recipe(), extractor)
    assert float(gaps_of(trained.model, [pair])[0]) > 0
    assert trained.gaps is None
    sure = trained.model.confidence(float(gaps_of(trained.model, [pair])[0]), 0)
    assert 0.5 < sure <= 0.61, "three votes in five: what the loss took for the probability, not what a unit reward would say"


def test_answers_that_annotators_wrote_say_nothing_of_the_confidence(extractor: FeatureExtractor) -> None:
    votes = random_votes(40)
    easy = pairs_where("good", "zzx qqw", num_pairs=40, kind="written")

    alone, together = train_head(votes, recipe(), extractor), train_head([*votes, *easy], recipe(), extractor)

    assert together.gaps is not None
    assert (together.gaps[40:] > 0).mean() > 0.9, "they are easy"
    temperature = fit_temperature(together.gaps[:40], [1.0] * 40)
    assert together.model.description.temperature == pytest.approx(temperature)
    assert alone.gaps is not None


@pytest.mark.parametrize(("num_prompts", "are_there"), [(4, False), (5, True)])
def test_gaps_need_as_many_prompts_as_folds(extractor: FeatureExtractor, num_prompts: int, are_there: bool) -> None:
    trained = train_head(random_votes(num_prompts, votes=3), recipe(), extractor)
    assert (trained.gaps is not None) == are_there


@pytest.mark.parametrize("twin_of", [lambda p: f" {p.upper().rstrip('.')}", lambda p: (Turn("user", p), Turn("user", "Go on."))])
def test_a_prompt_and_its_twin_are_in_one_fold(extractor: FeatureExtractor, twin_of: Callable[[Prompt], Prompt]) -> None:
    votes = random_votes(40)
    twins = [dataclasses.replace(pair, prompt=twin_of(pair.prompt)) for pair in votes]
    gaps = train_head([*votes, *twins], recipe(priors=(0.0001,)), extractor).gaps
    assert gaps is not None
    assert (gaps > 0).mean() < 0.7, "a head that knew the twin would be right nearly always"


def test_answers_of_40_and_of_40_000_characters_train_together(
    extractor: FeatureExtractor, caplog: pytest.LogCaptureFixture
) -> None:
    rng = random.Random(1)
    short = [sentence(rng, num_words=12)[:40] for _ in range(8)]
    long = [(sentence(rng, num_words=20) * 600)[:40_000] for _ in range(8)]
    pairs = [PreferencePair(f"{i}?", *((a, b) if i % 4 else (b, a))) for i, (a, b) in enumerate(zip(short, long, strict=True))]
    with caplog.at_level(logging.INFO, logger="pairloop.training"):
        trained = train_head(pairs, recipe(), extractor)
    assert rewards_of(trained.model, pairs).isfinite().all()
    assert 0 < trained.model.description.temperature < 1e4
    assert "8 answers read for the first time were cut to" in caplog.text
    caplog.clear()
    train_head(pairs, recipe(), extractor)
    assert "were cut" not in caplog.text


# Gaps and confidence


def test_gaps_are_those_of_heads_that_were_not_trained_on_the_prompt(extractor: FeatureExtractor) -> None:
    pairs = random_votes(50, votes=3)
    trained = train_head(pairs, recipe(priors=(0.01,)), extractor)
    assert float((gaps_of(trained.model, pairs) > 0).float().mean()) > 0.9
    assert trained.gaps is not None
    assert 0.25 < (trained.gaps > 0).mean() < 0.7  # 50 throws of a coin: 0.5, give or take 0.07
    assert 0.5 <= trained.model.confidence(0, float(np.abs(trained.gaps).mean())) < 0.6


@pytest.mark.parametrize("prior", [1.0, 100.0])  # the second makes raw rewards small
def test_gaps_and_temperature_are_in_the_unit_of_the_rewards(extractor: FeatureExtractor, prior: float) -> None:
    pairs = pairs_where("kind", "zxq", num_pairs=40)
    trained = train_head(pairs, recipe(priors=(prior,)), extractor)
    assert trained.gaps is not None
    assert np.mean(trained.gaps) == pytest.approx(float(gaps_of(trained.model, pairs).mean()), rel=0.3)
    assert trained.model.confidence(float(np.mean(trained.gaps)), 0) > 0.9


def test_the_head_is_the_mean_of_one_with_each_prior_and_each_counts_alike(extractor: FeatureExtractor) -> None:
    noisy = [*pairs_where("kind", "zxq", num_pairs=40), *map(turned, pairs_where("kind", "zxq", num_pairs=15, seed=2))]
    mean, weak, strong = (
        gaps_of(train_head(noisy, recipe(priors=priors), extractor).model, noisy) for priors in ((0.1, 10.0), (0.1,), (10.0,))
    )

    expected = weak / weak.square().mean().sqrt() + strong / strong.square().mean().sqrt()

    assert not torch.allclose(weak / weak.std(), strong / strong.std(), atol=0.05)
    torch.testing.assert_close(mean / mean.std(), expected / expected.std(), atol=5e-3, rtol=0)


def test_confidence_is_the_share_of_votes_that_agree(extractor: FeatureExtractor) -> None:
    rng = random.Random(2)
    clean = pairs_where("kind", "zxq", num_pairs=300)
    noisy = [turned(pair) if rng.random() < 0.25 else pair for pair in clean]
    model = train_head(noisy, recipe(), extractor).model
    unseen = pairs_where("kind", "zxq", num_pairs=100, seed=1)
    assert float((gaps_of(model, unseen) > 0).float().mean()) > 0.9
    confidences = [model.confidence(float(gap), 0) for gap in gaps_of(model, unseen)]
    assert np.mean(confidences) == pytest.approx(0.75, abs=0.06)


def test_confidence_is_higher_if_votes_agree_more(extractor: FeatureExtractor) -> None:
    rng = random.Random(4)
    sure, unsure = pairs_where("kind", "zxq", num_pairs=150), pairs_where("true", "1234", num_pairs=150)
    judged = [*sure, *[turned(pair) if rng.random() < 0.4 else pair for pair in unsure]]
    model = train_head(judged, recipe(), extractor).model
    confident, doubtful = (
        float(np.mean([model.confidence(float(gap), 0) for gap in gaps_of(model, pairs_where(*words, num_pairs=50, seed=1))]))
        for words in (("kind", "zxq"), ("true", "1234"))
    )
    assert confident > 0.85
    assert doubtful < 0.75


# Which layers


def test_the_layers_are_those_that_the_recipes_shares_name(tiny_base: Path) -> None:
    features = feature_recipe(recipe(layer_shares=(0.01, 0.5, 0.74, 0.75, 1.0)), base="a name", path=str(tiny_base))
    assert features == FeatureRecipe("a name", (1, 2, 3, 4), FROZEN.max_tokens)


def test_an_ids_commit_is_named(tiny_base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hub = hub_cache(tmp_path, monkeypatch)
    commit = hub.move_on(tiny_base)
    assert feature_recipe(FROZEN, base=hub.name, path=hub.name).revision == commit


def test_a_base_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"The model '.*/gone' cannot be loaded \(OSError: .*\); name a folder with safetensors"):
        feature_recipe(recipe(), base="gone", path=str(tmp_path / "gone"))
