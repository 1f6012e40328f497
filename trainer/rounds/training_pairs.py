"""What a round trains on: what it read, or what a killed round was training on."""

import importlib.metadata
import json
import logging
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from preference.models.fingerprint import fingerprint, fingerprint_by_commit, fingerprint_of_e08322f
from preference.models.number_formats import four_bit_libraries
from preference.models.pretrained import locate
from preference.projects.versions import Versions
from trainer.rating.rated_pairs import training_rater
from trainer.rounds.context import RoundContext
from trainer.rounds.reading import Reading
from trainer.rounds.unfinished import Snapshot
from trainer.training.recipes import LEAST_TO_SET_ASIDE, RECIPES

logger = logging.getLogger("pairloop.rounds")


def warm_start(context: RoundContext) -> Path | None:
    """The champion's folder; None if training cannot start from it.

    It must be a sequence model of the same base. It must have had pairs set aside, too, by the same rule: else it trained on the
    pairs that now decide between it and the base.
    """
    card = context.champion_card
    num_pairs = card.num_train_pairs or 0 if card else 0
    if card is None or card.base != context.settings.training.reward_base or num_pairs < LEAST_TO_SET_ASIDE:
        return None
    if card.holdout_rule != context.holdout.rule:
        return None
    recipe = RECIPES.get(card.recipe)
    return Versions(context.folder).path(card.version) if recipe is not None and recipe.kind == "sequence" else None


def pairs_to_train_on(context: RoundContext, reading: Reading, champion: Path | None) -> Snapshot:
    """What was read; or the snapshot of a killed round, if everything else that decides its weights is as it was.

    `champion`: the folder that `warm_start` names.
    """
    settings, unfinished = context.settings, context.unfinished
    new = Snapshot(
        reading.train,
        reading.num_annotations,
        reading.dropped,
        newest_annotation=reading.newest_annotation,
        newest_change=reading.newest_change,
    )
    if RECIPES[settings.training.recipe].kind == "frozen":  # seconds of work, and no checkpoint to go on from
        return new
    key = _key(context, champion)
    kept = unfinished.snapshot()
    if kept is not None:
        if kept.key not in (key, *_earlier_keys(key, context)):
            reason = "recipe, base, seed, champion, the reading's settings or a library changed"
        elif any(reading.holds_out.has(pair.question) for pair in kept.pairs):
            reason = "HOLDOUT_FRACTION now holds out prompts that it trains on"
        else:
            logger.info("%s: taking up the round that was killed (attempt %d)", unfinished.folder, unfinished.num_attempts)
            return kept
        logger.info("%s: the round that was killed is not taken up: %s", unfinished.folder, reason)
        unfinished.restart()
    new = replace(new, key=key)
    unfinished.keep(new)
    return new


def _key(context: RoundContext, champion: Path | None) -> dict[str, Any]:
    """Everything beside the pairs that decides the weights, or what the pairs were made of."""
    settings = context.settings
    dtype = context.dtype
    locate(settings.training.reward_base, settings.model_dir)  # says what to do if the embedded model is not installed
    return {
        "recipe": json.loads(json.dumps(asdict(RECIPES[settings.training.recipe]))),  # as it is read back: lists, no tuples
        "base": fingerprint(settings.training.reward_base, model_dir=settings.model_dir),
        "seed": settings.seed,
        "holdout_rule": context.holdout.rule,
        "warm_start": champion.name if champion else None,
        "ties": settings.training.ties,
        "prefer_ground_truth": settings.training.prefer_ground_truth,
        **({"dtype": dtype} if dtype != "float32" else {}),  # not in the keys of earlier builds
        **(
            {"where": settings.training.judgements_where} if settings.training.judgements_where else {}
        ),  # not in the keys of earlier builds
        **({"rated": rater.key} if (rater := training_rater(context.folder.path, settings.training.judge_weight)) else {}),
        **({"annotator_weights": settings.training.annotator_weights} if settings.training.annotator_weights else {}),  # likewise
        "libraries": {
            name: importlib.metadata.version(name)
            for name in ("torch", "transformers", "trl", "peft", *four_bit_libraries(dtype))
        },
    }


def _earlier_keys(key: dict[str, Any], context: RoundContext) -> list[dict[str, Any]]:
    """What earlier builds would have kept in place of this key: an id was its commit, and to build e08322f its name."""
    base = context.settings.training.reward_base
    key = {name: value for name, value in key.items() if name != "dtype"}
    keys = [key, {**key, "base": fingerprint_by_commit(base)}]
    if key["holdout_rule"] == 1:  # that build had no other, and did not keep it
        kept = {name: value for name, value in key.items() if name != "holdout_rule"}
        keys.append({**kept, "base": fingerprint_of_e08322f(base)})
    return keys
