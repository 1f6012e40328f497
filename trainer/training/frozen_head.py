"""Fits the head of a `frozen` recipe: a convex problem, solved to its optimum with each of a few priors; the head is their mean.

The loss is Bradley-Terry with margins (Llama 2, arXiv 2307.09288, equation 2) and a squared norm; scipy's L-BFGS finds its one
optimum in a fraction of a second, while Adam through TRL takes seconds to get near it and can neither weigh votes nor try
several priors.
"""

import hashlib
import logging
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import minimize
from threadpoolctl import threadpool_limits
from transformers import AutoConfig

from preference.labelling.pairs import PreferencePair
from preference.labelling.prompts import normalised
from preference.models.files import cannot_be_loaded
from preference.models.fingerprint import revision_of
from preference.reward_model.feature_extractor import FeatureExtractor, FeatureRecipe
from preference.reward_model.model import Description, FrozenRewardModel, RewardHead
from preference.reward_model.style_features import NUM_STYLE
from trainer.training.calibration import fit_temperature
from trainer.training.concepts import concept_directions
from trainer.training.recipes import Recipe
from trainer.training.trained import TrainingResult

logger = logging.getLogger("pairloop.training")
Array = NDArray[np.float64]
_NUM_FOLDS = 5


def train_head(pairs: Sequence[PreferencePair], recipe: Recipe, extractor: FeatureExtractor) -> TrainingResult:
    """A head over the extractor's features, and the gap that each pair has by a head that was not trained on its prompt.

    The head is the mean of one with each prior of the recipe: a few hundred pairs cannot tell which prior is best, and the one
    that looks best in cross-validation is worse than the mean. Rewards have mean 0 and standard deviation 1 over the training answers.
    Nothing in it is random: the same pairs in the same order give the same weights, but for rounding.
    """
    prompts, num_cut = [pair.prompt for pair in pairs], extractor.num_cut
    features = extractor.features(
        [*prompts, *prompts], [pair.chosen for pair in pairs] + [pair.rejected for pair in pairs]
    )  # (2 * num_pairs, size): the chosen answers, then the rejected ones
    if extractor.num_cut > num_cut:
        newly = extractor.num_cut - num_cut
        logger.info("%d answers read for the first time were cut to %d tokens, prompts first", newly, recipe.max_tokens)
    mean, spread = features.mean(0), features.std(0)
    spread = torch.where(spread > 1e-6 * features.abs().amax(0).clamp(min=1e-6), spread, torch.inf)  # a constant says nothing
    basis = _basis(features, spread, extractor, recipe)
    differences = features[: len(pairs)] - features[len(pairs) :]  # (num_pairs, size)
    votes = torch.tensor([pair.weight for pair in pairs])
    margins = torch.tensor([pair.margin for pair in pairs])
    # What annotators write themselves is easier to tell apart than generated answers, and nobody asks for its confidence.
    generated = np.array([pair.kind != "written" for pair in pairs])
    generated = generated if generated.any() else ~generated
    folds = _folds(pairs)
    columns = basis.columns(differences)
    with threadpool_limits(limits=1, user_api="blas"):  # a thread for each core makes these small products three times as slow
        gaps = None if folds is None else _held_back(columns, votes, margins, recipe.priors, folds)
        weight = _fit_mean(columns, votes, margins, recipe.priors)
    in_features = basis.weight_of_features(weight)
    rewards = (features - mean) @ in_features
    unit = float(rewards.std()) or 1.0  # 0 if there were only ties
    temperature = 1 / unit  # the training loss takes the sigmoid of the unscaled gap for the probability
    if gaps is not None:
        gaps = gaps / unit
        temperature = fit_temperature(gaps[generated], votes.numpy()[generated])
    recipe_of_features = extractor.recipe
    description = Description(
        "frozen",
        recipe_of_features.base,
        recipe_of_features.max_tokens,
        layers=recipe_of_features.layers,
        temperature=temperature,
        revision=recipe_of_features.revision,
    )
    logger.debug("trained a head on %d pairs (temperature %.2f)", len(pairs), temperature)
    return TrainingResult(FrozenRewardModel(description, RewardHead(in_features / unit, mean), extractor), gaps)


def feature_recipe(recipe: Recipe, *, base: str, path: str) -> FeatureRecipe:
    """Which of the base's layers are read, and at which commit, if it has any.

    Raises:
        ModelError: the base is not there, or is no model.
    """
    try:
        depth = int(AutoConfig.from_pretrained(path, trust_remote_code=False).get_text_config().num_hidden_layers)
    except (OSError, ValueError) as error:
        raise cannot_be_loaded(path, error) from error
    layers = sorted({max(1, round(share * depth)) for share in recipe.layer_shares})
    return FeatureRecipe(base, tuple(layers), recipe.max_tokens, revision_of(path))


@dataclass(frozen=True)
class _Basis:
    """What turns features into columns that have one prior: features by themselves, and projections on concepts."""

    scale: torch.Tensor  # (size,)
    toward: torch.Tensor  # (size, num_concepts)

    def columns(self, features: torch.Tensor) -> torch.Tensor:
        """(num_rows, size + num_concepts)"""
        return torch.cat([features * self.scale, features @ self.toward], 1)

    def weight_of_features(self, weight: Array) -> torch.Tensor:
        """(size,) the same rewards as weights of features."""
        own, on_concepts = torch.from_numpy(weight).float().split([self.toward.shape[0], self.toward.shape[1]])
        rewards: torch.Tensor = own * self.scale + self.toward @ on_concepts
        return rewards


def _basis(features: torch.Tensor, spread: torch.Tensor, extractor: FeatureExtractor, recipe: Recipe) -> _Basis:
    """Features with spread 1 over the training answers, and projections on the concepts' directions with the same.

    Each block (hidden features, style, concepts) has the prior of one column, times its share; its columns divide that equally.
    """
    num_style = NUM_STYLE + 1  # with the log of the number of tokens
    num_hidden = extractor.size - num_style
    hidden = torch.full((num_hidden,), num_hidden**-0.5)
    style = torch.full((num_style,), (recipe.style_share / num_style) ** 0.5)
    toward = (concept_directions(extractor) / spread**2).T  # (size, num_concepts)
    toward[num_hidden:] = 0
    toward = toward / (features @ toward).std(0).clamp(min=1e-6) * (recipe.concept_share / toward.shape[1]) ** 0.5
    return _Basis(torch.cat([hidden, style]) / spread, toward)


def _folds(pairs: Sequence[PreferencePair]) -> NDArray[np.int64] | None:
    """(num_pairs,) each pair's fold, that of its prompt; None if there are fewer prompts than folds."""
    prompts = [normalised(pair.prompt) for pair in pairs]
    if len(set(prompts)) < _NUM_FOLDS:
        return None
    shuffled = sorted(set(prompts), key=lambda prompt: hashlib.sha256(prompt.encode()).digest())
    fold = {prompt: i % _NUM_FOLDS for i, prompt in enumerate(shuffled)}
    return np.array([fold[prompt] for prompt in prompts])


def _held_back(
    columns: torch.Tensor, votes: torch.Tensor, margins: torch.Tensor, priors: Sequence[float], folds: NDArray[np.int64]
) -> Array:
    """(num_pairs,) the gaps by heads that were not trained on the fold of the pair."""
    gaps: Array = np.zeros(len(columns))
    for fold in range(_NUM_FOLDS):
        others, own = torch.from_numpy(folds != fold), torch.from_numpy(folds == fold)
        weight = _fit_mean(columns[others], votes[others], margins[others], priors)
        gaps[folds == fold] = (columns[own] @ torch.from_numpy(weight).float()).numpy()
    return gaps


def _fit_mean(columns: torch.Tensor, votes: torch.Tensor, margins: torch.Tensor, priors: Sequence[float]) -> Array:
    """(size,) the mean of the weights with each prior, all scaled to the gaps of the strongest one, so that each counts alike."""
    weights: list[Array] = []
    for prior in sorted(priors, reverse=True):  # each starts where the stronger prior ended
        weights.append(_fit(columns, votes, margins, prior, start=weights[-1] if weights else None))
    spreads = [float((columns @ torch.from_numpy(weight).float()).square().mean().sqrt()) for weight in weights]
    mean: Array = np.mean([weight * spreads[0] / (spread or 1) for weight, spread in zip(weights, spreads, strict=True)], axis=0)
    return mean  # 0 if there were only ties


def _fit(
    differences: torch.Tensor, votes: torch.Tensor, margins: torch.Tensor, prior: float, *, start: Array | None = None
) -> Array:
    """(size,) the weights of the least loss: sum(votes * -log sigmoid(differences @ w - margins)) + prior / 2 * |w|^2."""

    def loss(weight: Array) -> tuple[float, Array]:
        gaps = differences @ torch.from_numpy(weight).float() - margins  # (num_pairs,)
        value = -(votes * torch.nn.functional.logsigmoid(gaps)).sum().item() + prior / 2 * float(weight @ weight)
        slope = differences.T @ (-votes * torch.sigmoid(-gaps))
        return value, slope.double().numpy() + prior * weight

    begin = np.zeros(differences.shape[1]) if start is None else start
    solution = minimize(loss, begin, jac=True, method="L-BFGS-B", options={"maxiter": 500, "ftol": 1e-9, "gtol": 1e-4})
    weight: Array = solution.x
    return weight
