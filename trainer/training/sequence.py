"""Trains a sequence classifier: from the base or from the champion, whichever is better, with rewards that compare."""

import logging
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from preference.errors import ModelError, TrainingError
from preference.labelling.holdout import NEWEST_RULE, Holdout
from preference.labelling.pairs import PreferencePair
from preference.models.out_of_memory import release_memory
from preference.reward_model.model import AdapterRewardModel, SequenceRewardModel
from trainer.evaluation.pair_rewards import score_pairs
from trainer.training.calibration import fit_temperature
from trainer.training.lora import can_be_continued
from trainer.training.progress import check_reporters
from trainer.training.recipes import LEAST_TO_SET_ASIDE, Recipe
from trainer.training.trained import Start, TrainingContext, TrainingResult, Workspace
from trainer.training.trl_trainer import Fitted, advice, fit_sequence

logger = logging.getLogger("pairloop.training")
_SHARE_SET_ASIDE = 0.1  # of the prompts
_CENTRED_ON = 500  # pairs at most: the mean and the spread of 1000 answers are known to 3 %


def train_sequence(
    pairs: Sequence[PreferencePair], recipe: Recipe, context: TrainingContext, workspace: Workspace
) -> TrainingResult:
    """A sequence classifier, trained from the base and, if the workspace names one, from the champion; the better is kept.

    A tenth of the prompts is set aside: it decides between the two by its Bradley-Terry loss, and gives the temperature.
    Without it the base is taken, and the temperature is that of the training loss. Rewards have mean 0 and standard
    deviation 1 over the training answers, so that those of different versions compare.

    An adapter goes on from a champion that is one, of the same rank: so it ends as an adapter on the plain base. From any other
    champion it does not start; every round trains on all pairs, so little is lost. Nor does a champion that cannot be loaded,
    or whose training fails, cost more than its start.
    """
    check_reporters(workspace.report_to)
    device = context.extractors.device
    fitted, aside = set_aside(pairs, rule=context.holdout_rule)
    aside = [pair for pair in aside if pair.kind != "rated"]
    made: dict[Start, Fitted] = {"base": fit_sequence(fitted, recipe, context, workspace)}
    if workspace.champion is not None and recipe.warm_start and aside:
        try:
            if not recipe.lora_rank or can_be_continued(workspace.champion, recipe):
                made["champion"] = fit_sequence(fitted, recipe, context, workspace, "champion")
        except (ModelError, TrainingError) as error:  # what was trained from the base stands
            logger.warning("no warm start from the champion: %s", error)
        release_memory(device)  # which a training that failed leaves in cycles
    trained = {
        start: one.model(context.extractors) for start, one in made.items()
    }  # after the last training: a base takes memory
    best: Start = "base"
    if len(trained) > 1:
        losses = {start: _loss(model, aside, device) for start, model in trained.items()}
        best = min(losses, key=lambda name: losses[name])
        compared = ", ".join(f"{loss:.4f} from the {name}" for name, loss in losses.items())
        logger.info("training %s: from the %s (loss on %d pairs set aside: %s)", recipe.name, best, len(aside), compared)
    return TrainingResult(_calibrated(trained[best], pairs, aside, recipe, device), start=best)


def set_aside(pairs: Sequence[PreferencePair], *, rule: int = NEWEST_RULE) -> tuple[list[PreferencePair], list[PreferencePair]]:
    """(what is trained on, what is set aside), by a hash of the prompt that has nothing to do with the holdout's.

    The same prompts in every round, so that a champion has not trained on them either. `rule`: the project's, of its holdout.
    """
    fitted, aside = Holdout(_SHARE_SET_ASIDE, rule, salt="set aside: ").split(pairs)
    return (fitted, aside) if len(pairs) >= LEAST_TO_SET_ASIDE and fitted else (list(pairs), [])


def _loss(model: SequenceRewardModel, pairs: Sequence[PreferencePair], device: torch.device) -> float:
    """The Bradley-Terry loss over pairs; chance is 0.693."""
    network: Any = model.network
    network.to(device)
    losses = np.logaddexp(0, -score_pairs(model, pairs).gaps)
    if not isinstance(model, AdapterRewardModel):  # whose network is everybody's
        network.to("cpu")
    return float(np.average(losses, weights=[pair.training_weight for pair in pairs]))


def _calibrated(
    model: SequenceRewardModel, pairs: Sequence[PreferencePair], aside: Sequence[PreferencePair], recipe: Recipe, device: torch.device
) -> SequenceRewardModel:  # fmt: skip
    """The model on `device`, with its centre, scale and temperature."""
    network: Any = model.network
    network.to(device)
    drawn = np.random.default_rng(0).permutation(len(pairs))[:_CENTRED_ON]
    rewards = score_pairs(model, [pairs[i] for i in drawn])
    answers = np.concatenate([rewards.chosen, rewards.rejected])
    if not np.isfinite(answers).all():
        raise TrainingError(f"The trained model's rewards are no numbers; {advice(recipe)}.")
    scale = float(answers.std())
    scale = scale if scale > 1e-6 else 1.0  # a model that gives every answer the same reward
    temperature = 1 / scale  # sigmoid of the unscaled gap, which is what the training loss takes for the probability
    aside = [pair for pair in aside if pair.is_judged] or aside  # annotators' own answers are easier to tell apart
    if aside:
        temperature = fit_temperature(score_pairs(model, aside).gaps / scale, [pair.training_weight for pair in aside])
    model.description = replace(model.description, center=float(answers.mean()), scale=scale, temperature=temperature)
    return model
