"""Why a round would only repeat the latest one: judgements that say the same, trained on in the same way."""

import hashlib
import importlib.metadata
import json
from collections.abc import Sequence
from contextlib import suppress

from preference.errors import PairloopError
from preference.labelling.pairs import PreferencePair
from preference.models.fingerprint import fingerprint
from preference.report_card.card import ReportCard
from trainer.rounds.context import RoundContext
from trainer.rounds.reading import Reading


def nothing_new(context: RoundContext, reading: Reading) -> str:
    """A sentence that names the version which such a round would repeat; empty if there is anything new.

    With JUDGE_WEIGHT, the LLM's opinions may be new. If the champion cannot be loaded, its place is to be taken.

    Raises:
        ModelError: REWARD_BASE is not there.
    """
    latest = next(iter(context.cards), None)
    if latest is None or context.settings.training.judge_weight or not _is_repeated(context, reading, latest):
        return ""
    if context.champion is not None and not _loads(context, context.champion):
        return ""
    return (
        f"nothing is new since {latest.version}: the judgements say the same, and recipe, base, seed and holdout are as they were"
    )


def digest(train: Sequence[PreferencePair], votes: Sequence[PreferencePair]) -> str:
    """The same for two rounds that train on the same and judge by the same; `votes` are those on held-out prompts."""
    read = [
        [(pair.prompt, pair.chosen, pair.rejected, pair.kind, pair.training_weight, pair.margin) for pair in pairs]
        for pairs in (train, votes)
    ]
    return hashlib.sha256(json.dumps(read).encode("utf-8", "surrogatepass")).hexdigest()[:16]


def base_fingerprint(context: RoundContext) -> str:
    """That of what REWARD_BASE is now.

    Raises:
        ModelError: it is not there.
    """
    return fingerprint(context.settings.training.reward_base, model_dir=context.settings.model_dir)


def _is_repeated(context: RoundContext, reading: Reading, card: ReportCard) -> bool:
    training = context.settings.training
    known = (
        (card.judgements, digest(reading.train, reading.votes)),
        ((card.holdout_fraction, card.holdout_rule), (reading.holds_out.fraction, reading.holds_out.rule)),
        ((card.recipe, card.base, card.seed), (training.recipe, training.reward_base, context.settings.seed)),
        (card.dtype, context.dtype),
        (card.learnt_from, context.earlier.name if context.earlier else ""),
        (card.libraries, {name: _version(name) for name in card.libraries}),
    )
    return all(before == now for before, now in known) and card.base_fingerprint in ("", base_fingerprint(context))


def _version(library: str) -> str | None:
    with suppress(importlib.metadata.PackageNotFoundError):
        return importlib.metadata.version(library)
    return None


def _loads(context: RoundContext, version: str) -> bool:
    with suppress(PairloopError):
        context.load(version)
        return True
    return False
