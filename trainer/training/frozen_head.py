"""Fits the head of a `frozen` recipe: a convex problem, solved to its optimum with each of a few priors; the head is their mean.

The loss is Bradley-Terry with margins (Llama 2, arXiv 2307.09288, equation 2) and a squared norm; bradley_terry.py finds its one
optimum, while Adam through TRL takes seconds to get near it and can neither weigh votes nor try several priors.
"""

import hashlib
import logging
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from preference.labelling.pairs import PreferencePair
from preference.labelling.prompts import normalised, opening
from preference.models.fingerprint import revision_of
from preference.models.pretrained import load_config
from preference.reward_model.feature_extractor import FeatureExtractor, FeatureRecipe
from preference.reward_model.model import Description, FrozenRewardModel
from preference.reward_model.reward_head import RewardHead
from preference.reward_model.style_features import NUM_STYLE
from trainer.training.bradley_terry import ROWS_AT_ONCE, least_loss
from trainer.training.calibration import fit_temperature
from trainer.training.concepts import concept_directions
from trainer.training.recipes import Recipe
from trainer.training.trained import TrainingResult

logger = logging.getLogger("pairloop.training")
Array = NDArray[np.float64]
_NUM_FOLDS = 5
# The same share whatever people say loses .011 (.006 to .016) on PandaLM after hh-rlhf at 30 pairs (400 splits), this .001; with half of the
# prompts of hh-rlhf before, that gives .045 and this .037 (160 splits). Evidence over pairs in place of prompts loses .006, a share in
# proportion to the probability that it agrees more often than not loses .007 and gives .041. More than 4 gave no more.
EARLIER_MOST = 4.0
CURVE_SHARES = (0.1, 0.25, 0.5, 0.75)  # of the pairs, for the learning curve


def train_head(
    pairs: Sequence[PreferencePair], recipe: Recipe, extractor: FeatureExtractor, *, shares: Sequence[float] = (),
    earlier: torch.Tensor | None = None,
) -> TrainingResult:  # fmt: skip
    """A head over the extractor's features, and the gap that each pair has by a head that was not trained on its prompt.

    The head is the mean of one with each prior of the recipe: a few hundred pairs cannot tell which prior is best, and the one
    that looks best in cross-validation is worse than the mean. Rewards have mean 0 and standard deviation 1 over the training answers.
    Nothing in it is random: the same pairs in the same order give the same weights, but for rounding.
    If votes of some people count less or more than others, there is also a head for which all count alike.
    `shares`: for these ascending shares of the pairs, whose prompts have the lowest hashes so that each holds the one before it, a head
    too, over columns that are scaled by the answers of all, an earlier head's by their judgements.
    `earlier`: (size,) the weights of an earlier project's head over the same features. Its reward is one more feature, as far as it
    agrees with these pairs, and what of it helps becomes a part of this head's own weights.
    """
    order = sorted(range(len(pairs)), key=lambda i: hashlib.sha256(normalised(opening(pairs[i].question)).encode()).digest())
    ordered = [pairs[i] for i in order]
    prompts, num_cut = [pair.prompt for pair in ordered], extractor.num_cut
    features = extractor.features(
        [*prompts, *prompts], [pair.chosen for pair in ordered] + [pair.rejected for pair in ordered]
    )  # (2 * num_pairs, size): the chosen answers, then the rejected ones
    if extractor.num_cut > num_cut:
        newly = extractor.num_cut - num_cut
        logger.info("%d answers read for the first time were cut to %d tokens, prompts first", newly, recipe.max_tokens)
    with threadpool_limits(limits=1, user_api="blas"):  # a thread for each core makes these small products three times as slow
        chosen, rejected = features[: len(pairs)], features[len(pairs) :]
        scaled = None if earlier is None else _scaled(earlier, ordered, chosen @ earlier, rejected @ earlier)
        examples = _examples(chosen, rejected, extractor, recipe, scaled)
        counts = [count for share in shares if (count := round(share * len(pairs)))]
        folds = _folds(ordered)
        subsets = torch.ones(1 if folds is None else 1 + _NUM_FOLDS, len(pairs), dtype=torch.bool)  # all, and all but each fold
        if folds is not None:
            subsets[1:] = torch.from_numpy(folds != np.arange(_NUM_FOLDS)[:, None])
        firsts = [torch.ones(1, count, dtype=torch.bool) for count in counts]
        *of_firsts, weights = _weights(examples, ordered, recipe, [*firsts, subsets])
        trained = _trained(examples, ordered, weights, extractor, folds=folds)
        smaller = [
            (len(each[0]), _trained(examples, ordered[: len(each[0])], of_each, extractor).model)
            for each, of_each in zip(firsts, of_firsts, strict=True)
        ]
        unweighted = None
        if any(pair.trust != 1 for pair in ordered):
            alike = [replace(pair, trust=1.0) for pair in ordered]
            (of_alike,) = _weights(examples, alike, recipe, [subsets[:1]])
            unweighted = _trained(examples, alike, of_alike, extractor).model
    logger.debug("trained a head on %d pairs (temperature %.2f)", len(pairs), trained.model.description.temperature)
    gaps = None if trained.gaps is None else trained.gaps[np.argsort(order)]
    return replace(trained, gaps=gaps, smaller=tuple(smaller), unweighted=unweighted)


@dataclass(frozen=True, eq=False)
class _Examples:
    """What is known of the pairs' answers, whatever people say of them."""

    chosen: torch.Tensor  # (num_pairs, size) features
    rejected: torch.Tensor
    mean: torch.Tensor  # (size,)
    basis: "_Basis"
    columns: torch.Tensor  # as the basis has them


def _examples(
    chosen: torch.Tensor, rejected: torch.Tensor, extractor: FeatureExtractor, recipe: Recipe, earlier: torch.Tensor | None
) -> _Examples:
    mean, spread = _mean_and_spread(chosen, rejected)
    basis = _basis(chosen, rejected, spread, extractor, recipe, earlier)
    return _Examples(chosen, rejected, mean, basis, basis.columns(chosen, rejected))


def _weights(
    examples: _Examples, pairs: Sequence[PreferencePair], recipe: Recipe, subsets: Sequence[torch.Tensor]
) -> list[Array]:
    """For each of `subsets`, as `least_loss` takes them, (num_subsets, num_columns)."""
    votes = torch.tensor([pair.training_weight for pair in pairs])
    margins = torch.tensor([pair.margin for pair in pairs])
    by_prior = least_loss(examples.columns, votes, margins, recipe.priors, subsets=subsets)
    return [
        _mean_over_priors(weights, examples.columns[: each.shape[1]], each, recipe.priors)
        for weights, each in zip(by_prior, subsets, strict=True)
    ]


def _trained(
    examples: _Examples, pairs: Sequence[PreferencePair], weights: Array, extractor: FeatureExtractor, *,
    folds: NDArray[np.int64] | None = None,
) -> TrainingResult:  # fmt: skip
    """Of the first of the weights; with `folds`, each pair's, also the gaps by the others."""
    in_features = examples.basis.weight_of_features(weights[0])
    rewards = torch.cat([features[: len(pairs)] @ in_features for features in (examples.chosen, examples.rejected)])
    unit = float(rewards.std()) or 1.0  # 0 if there were only ties
    gaps, temperature = None, 1 / unit  # the training loss takes the sigmoid of the unscaled gap for the probability
    if folds is not None:
        by_fold = (examples.columns @ torch.from_numpy(weights[1:].T).float()).double().numpy()  # (num_pairs, num_folds)
        gaps = by_fold[np.arange(len(pairs)), folds] / unit
        # What annotators write themselves is easier to tell apart than generated answers, and nobody asks for its confidence.
        generated = np.array([pair.is_judged for pair in pairs])
        generated = generated if generated.any() else ~generated
        votes = np.array([pair.training_weight for pair in pairs], np.float32)
        temperature = fit_temperature(gaps[generated], votes[generated])
    recipe_of_features = extractor.recipe
    description = Description(
        "frozen",
        recipe_of_features.base,
        recipe_of_features.max_tokens,
        layers=recipe_of_features.layers,
        temperature=temperature,
        revision=recipe_of_features.revision,
        dtype=recipe_of_features.dtype,
    )
    return TrainingResult(FrozenRewardModel(description, RewardHead(in_features / unit, examples.mean), extractor), gaps)


def _mean_and_spread(chosen: torch.Tensor, rejected: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """(size,) each, over all answers; a feature that never varies has an infinite spread."""
    mean = (chosen.mean(0) + rejected.mean(0)) / 2
    squares = torch.zeros_like(mean)
    for rows in (*chosen.split(ROWS_AT_ONCE), *rejected.split(ROWS_AT_ONCE)):
        squares += (rows - mean).square_().sum(0)
    spread = (squares / (2 * len(chosen) - 1)).sqrt()
    most = torch.stack([each for side in (chosen, rejected) for each in (side.amax(0), -side.amin(0))]).amax(0)
    return mean, torch.where(spread > 1e-6 * most.clamp(min=1e-6), spread, torch.inf)


def feature_recipe(recipe: Recipe, *, base: str, path: str) -> FeatureRecipe:
    """Which of the base's layers are read, and at which commit, if it has any.

    Raises:
        ModelError: the base is not there, or is no model.
    """
    depth = int(load_config(path).get_text_config().num_hidden_layers)
    layers = sorted({max(1, round(share * depth)) for share in recipe.layer_shares})
    return FeatureRecipe(base, tuple(layers), recipe.max_tokens, revision_of(path))


@dataclass(frozen=True)
class _Basis:
    """What turns features into columns that have one prior: features by themselves, and projections on concepts and on an earlier head."""

    scale: torch.Tensor  # (size,)
    toward: torch.Tensor  # (size, num_projections)

    def columns(self, chosen: torch.Tensor, rejected: torch.Tensor) -> torch.Tensor:
        """(num_pairs, size + num_projections) of chosen - rejected, made in place: of 20,000 pairs, a copy is 150 MB."""
        size, num_projections = self.toward.shape
        columns = torch.empty(len(chosen), size + num_projections)
        features = torch.sub(chosen, rejected, out=columns[:, :size])
        columns[:, size:] = features @ self.toward
        features *= self.scale
        return columns

    def weight_of_features(self, weight: Array) -> torch.Tensor:
        """(size,) the same rewards as weights of features."""
        own, projected = torch.from_numpy(weight).float().split([self.toward.shape[0], self.toward.shape[1]])
        rewards: torch.Tensor = own * self.scale + self.toward @ projected
        return rewards


def _basis(
    chosen: torch.Tensor, rejected: torch.Tensor, spread: torch.Tensor, extractor: FeatureExtractor, recipe: Recipe,
    earlier: torch.Tensor | None,
) -> _Basis:  # fmt: skip
    """Features with spread 1 over the training answers, and projections on the concepts' directions with the same.

    Each block (hidden features, style, concepts, the reward by an earlier project) has the prior of one column, times its share; its columns divide that equally.
    """
    num_style = NUM_STYLE + 1  # with the log of the number of tokens
    num_hidden = extractor.size - num_style
    hidden = torch.full((num_hidden,), num_hidden**-0.5)
    style = torch.full((num_style,), (recipe.style_share / num_style) ** 0.5)
    toward = (concept_directions(extractor) / spread**2).T  # (size, num_concepts)
    toward[num_hidden:] = 0
    on_concepts = torch.cat([chosen @ toward, rejected @ toward])
    toward = toward / on_concepts.std(0).clamp(min=1e-6) * (recipe.concept_share / toward.shape[1]) ** 0.5
    if earlier is not None:
        toward = torch.cat([toward, earlier[:, None]], 1)
    return _Basis(torch.cat([hidden, style]) / spread, toward)


def _scaled(earlier: torch.Tensor, pairs: Sequence[PreferencePair], chosen: torch.Tensor, rejected: torch.Tensor) -> torch.Tensor:
    """(size,) the earlier head, whose rewards of these answers are (num_pairs,) each, in proportion to its share."""
    share = earlier_share(pairs, (chosen - rejected).numpy())
    scaled: torch.Tensor = earlier / torch.cat([chosen, rejected]).std().clamp(min=1e-6) * share**0.5
    return scaled


def earlier_share(pairs: Sequence[PreferencePair], gaps: Array) -> float:
    """How far an earlier project's head may move a reward, beside 1 for what the backbone sees: as far as these pairs speak for it.

    z is how many standard errors more of them it agrees with than not, and z^2 - 1 what that is above chance (the moment estimate of a
    variance: DerSimonian and Laird 1986); 0 if z is 1 or less, and EARLIER_MOST at most. Votes on one prompt depend on each other, so the standard
    error is over prompts. `gaps`: (num_pairs,) its reward of the chosen answer less that of the rejected one.
    """
    of_prompt: dict[str, float] = defaultdict(float)
    for pair, gap in zip(pairs, gaps, strict=True):
        of_prompt[normalised(opening(pair.question))] += pair.training_weight * float(np.sign(gap))
    agreements = np.array(list(of_prompt.values()))
    z = agreements.sum() / max(float((agreements**2).sum()), 1e-12) ** 0.5
    return float(np.clip(z * abs(z) - 1, 0, EARLIER_MOST))


def _folds(pairs: Sequence[PreferencePair]) -> NDArray[np.int64] | None:
    """(num_pairs,) each pair's fold, that of its prompt; None if there are fewer prompts than folds."""
    prompts = [normalised(opening(pair.question)) for pair in pairs]
    if len(set(prompts)) < _NUM_FOLDS:
        return None
    shuffled = sorted(set(prompts), key=lambda prompt: hashlib.sha256(prompt.encode()).digest())
    fold = {prompt: i % _NUM_FOLDS for i, prompt in enumerate(shuffled)}
    return np.array([fold[prompt] for prompt in prompts])


def _mean_over_priors(weights: Array, columns: torch.Tensor, subsets: torch.Tensor, priors: Sequence[float]) -> Array:
    """(num_subsets, size) the mean of the weights with each prior, all scaled to the gaps of the strongest one, so that each counts alike."""
    num_priors, num_subsets, size = weights.shape
    gaps = columns @ torch.from_numpy(weights.reshape(-1, size).T).float()  # (num_pairs, num_priors * num_subsets)
    squares = (gaps.square_() * subsets.T.repeat(1, num_priors)).sum(0) / subsets.sum(1).repeat(num_priors)
    spreads = squares.sqrt().double().numpy().reshape(num_priors, num_subsets)
    scales = spreads[int(np.argmax(priors))] / np.where(spreads > 0, spreads, 1)
    mean: Array = np.mean(weights * scales[..., None], axis=0)
    return mean  # 0 if there were only ties
