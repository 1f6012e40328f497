"""How far suggestions move people: judgements made with one, beside those of the control group, which saw none.

Who saw what is known from the prediction that an annotation was made from, never from today's settings. Compared are versions
that did both: suggested, and showed nothing to some. Left out are judgements of a version that may have trained on them: those
on prompts that somebody had judged before it was published.

Uncertainty sampling serves the least certain tasks first, and the control group in any order. So people agree less with
suggestions than with what the control group was not shown, even where suggestions move nobody. Only judgements on which the
model was about as sure are therefore compared, and the differences averaged over the tasks that had a suggestion.

Not covered: SUGGEST=none set while a version is served, whose judgements then count as the control group's.
"""

import logging
import math
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from preference.errors import PairloopError
from preference.labelling.pairs import PreferencePair, normalised
from preference.labelling.results import Side
from preference.report_card.card import ModelCard
from preference.reward_model.model import RewardModel
from trainer.evaluation.intervals import Array, middle, share
from trainer.reporting.annotators import Judgement, judgements_of, left_rate, said_by_task
from trainer.reporting.figures import AT_LEAST, moment_of

logger = logging.getLogger("pairloop.reporting")
MOVED = 0.05  # by so much more often than this, surely, do people choose the model's side: then the report warns
_MOST_BLIND = 500  # of the control group's judgements, the newest: each costs the version that was served two rewards
_PER_STRATUM, _MOST_STRATA = 20, 4  # of the control group's
# Of the control group's. What is taken off within strata supposes a model that is right as often as it says: where it is too
# sure, fewer and wider strata show people as moved whom nothing moves. Simulated with people who agree as often however sure
# it is, and a tenth of the tasks judged: false warnings in 8 % of reports at 40 and 50, in 3 to 5 % from 60 on.
_LEAST_BLIND = 3 * _PER_STRATUM
_Z = 1.959964  # of a 95 % interval


@dataclass(frozen=True)
class _Model:
    """What the served version held of a task."""

    side: Side
    confidence: float


def suggestion_effect(
    pairs: Sequence[PreferencePair], *, cards: Sequence[ModelCard], load: Callable[[str], RewardModel]
) -> dict[str, Any] | None:
    """Judgements with and without a suggestion; None where no version had both.

    `cards`: of all versions that may have been served; `load` gives one of them, or raises PairloopError. `with_suggestion`,
    `without`: num_judgements; `model_side`, how often the judged side is that of the version that was served (for the control
    group, as that version says now); `majority`, how often most of the others said the same of the task; `left_rate`;
    `lead_seconds`, the median. `moves`: how much more often people choose the model's side where it is suggested, -1..1, among
    tasks on which the model is as sure; its value is None below _LEAST_BLIND of the control group. `warning`: a sentence where
    the lower end of its interval is above MOVED, else None. `left_out`: judgements that are not compared, by reason.
    """
    judgements = [made for made in judgements_of(pairs) if made.outcome is not None]
    versions = compared_versions(judgements)
    if not versions:
        return None
    left_out: Counter[str] = Counter()
    fresh = _fresh(judgements, pairs, versions, cards, left_out=left_out)
    suggested = [made for made in fresh if made.suggested_side is not None]
    blind = [made for made in fresh if made.is_blind]
    models = [_suggested(made) for made in suggested]
    hidden = _served(blind, load, left_out=left_out)
    others = said_by_task(judgements)
    moves = _moves(_agreeing(suggested, models), _agreeing(blind, hidden))
    return {
        "with_suggestion": _group(suggested, [made.suggested_side for made in suggested], others),
        "without": _group(blind, [model.side if model else None for model in hidden], others),
        "moves": moves,
        "warning": _warning(moves),
        "left_out": dict(left_out),
    }


def control_accuracy(holdout: Sequence[PreferencePair], versions: set[str], **right: Array | None) -> dict[str, Any]:
    """Each model's accuracy on the control group's held-out comparisons, from whether it is right on each of `holdout`."""
    rows = np.array([pair.is_blind and pair.suggested_version in versions for pair in holdout], bool)
    return {name: None if values is None else share(values[rows], at_least=AT_LEAST) for name, values in right.items()}


def compared_versions(judgements: Sequence[Judgement]) -> set[str]:
    """The versions of which people judged suggestions, and tasks on which they showed nothing."""
    suggested = {made.suggested_version for made in judgements if made.suggested_side is not None}
    blind = {made.suggested_version for made in judgements if made.is_blind}
    return {version for version in suggested & blind if version is not None}


def _fresh(
    judgements: Sequence[Judgement], pairs: Sequence[PreferencePair], versions: set[str], cards: Sequence[ModelCard], *,
    left_out: Counter[str],
) -> list[Judgement]:  # fmt: skip
    """Those of compared versions on which their version cannot have trained."""
    published = {card.version: moment_of(card.created_at) for card in cards}
    times: dict[str, list[Any]] = defaultdict(list)
    for pair in pairs:
        times[normalised(pair.prompt)].append(moment_of(pair.judged_at))
    found = []
    for made in judgements:
        since = published.get(made.suggested_version or "")
        if made.suggested_side is None and not made.is_blind:
            left_out["no prediction was seen"] += 1
        elif made.suggested_version not in versions:
            left_out["its version suggested to all, or to none"] += 1
        elif since is None:
            left_out["its version is gone"] += 1
        elif not all(at is not None and at > since for at in times[normalised(made.prompt)]):
            left_out["its version may have trained on the prompt"] += 1
        else:
            found.append(made)
    return found


def _suggested(made: Judgement) -> _Model | None:
    if made.suggested_side is None or made.suggested_confidence is None:
        return None
    return _Model(made.suggested_side, made.suggested_confidence)


def _served(
    blind: Sequence[Judgement], load: Callable[[str], RewardModel], *, left_out: Counter[str]
) -> list[_Model | None]:  # fmt: skip
    """What the version that was served holds of each task; None of older ones, and where it cannot be loaded or asked."""
    found: list[_Model | None] = [None for _ in blind]
    newest = sorted(range(len(blind)), key=lambda i: blind[i].judged_at or "")[-_MOST_BLIND:]
    by_version: dict[str, list[int]] = defaultdict(list)
    for i in newest:
        by_version[blind[i].suggested_version or ""].append(i)
    for version, places in by_version.items():
        texts = [(blind[i].prompt, answer) for i in places for answer in blind[i].answers or ()]
        try:
            model = load(version)
            rewards = model.score([prompt for prompt, _ in texts], [answer for _, answer in texts]).reshape(-1, 2).tolist()
        except PairloopError as error:  # a figure of a report, for which no trained round is lost
            left_out["its version cannot be loaded or asked"] += len(places)
            logger.warning("%d judgements of the control group are not compared: %s: %s", len(places), version, error)
            continue
        for i, (left, right) in zip(places, rewards, strict=True):
            if math.isfinite(left - right):
                found[i] = _Model("left" if left >= right else "right", model.confidence(left, right))
    return found


def _group(
    judgements: Sequence[Judgement], sides: Sequence[Side | None], others: Mapping[int, Mapping[int, str]]
) -> dict[str, Any]:
    known = [(made, side) for made, side in zip(judgements, sides, strict=True) if side is not None]
    lead = [made.lead_seconds for made in judgements if made.lead_seconds is not None and made.lead_seconds > 0]
    return {
        "num_judgements": len(judgements),
        "model_side": share([float(made.outcome == side) for made, side in known], at_least=AT_LEAST),
        "majority": share([agrees for made in judgements for agrees in _with_majority(made, others)], at_least=AT_LEAST),
        "left_rate": left_rate(judgements, at_least=AT_LEAST),
        "lead_seconds": middle(lead, at_least=AT_LEAST),
    }


def _with_majority(made: Judgement, others: Mapping[int, Mapping[int, str]]) -> list[float]:
    """Whether it is what most of the others said of its task, a part where several things were said as often; [] without others."""
    if made.task_id is None or made.annotator_id is None:
        return []
    said = Counter(outcome for who, outcome in others.get(made.task_id, {}).items() if who != made.annotator_id)
    most = [outcome for outcome, count in said.items() if count == max(said.values())]
    return [(made.outcome in most) / len(most)] if most else []


def _agreeing(judgements: Sequence[Judgement], models: Sequence[_Model | None]) -> tuple[Array, Array]:
    """(whether each judged side is the model's, how sure the model is), of those of which the model's is known."""
    known = [(made, model) for made, model in zip(judgements, models, strict=True) if model is not None]
    agrees = np.array([made.outcome == model.side for made, model in known], float)
    return agrees, np.array([model.confidence for _, model in known], float)


def _moves(suggested: tuple[Array, Array], blind: tuple[Array, Array]) -> dict[str, Any]:
    """The difference within strata of like confidence, weighted as the tasks with a suggestion are, and its 95 % interval.

    Strata hold equally many of the control group; what is left of the difference in confidence within one is taken off. The
    interval adds an agreement and a disagreement to each side of each stratum, so that few judgements which all agree are not
    taken for certainty (Agresti and Caffo 2000, "Simple and effective confidence intervals", The American Statistician 54).
    """
    (seen, sure), (unseen, hidden) = suggested, blind
    count = min(len(seen), len(unseen))
    if count < AT_LEAST or len(unseen) < _LEAST_BLIND:
        return {"value": None, "interval": None, "count": count}
    num_strata = min(_MOST_STRATA, len(unseen) // _PER_STRATUM)
    edges = np.quantile(hidden, np.arange(1, num_strata) / num_strata)
    places = np.digitize(sure, edges), np.digitize(hidden, edges)
    rows = []  # for each stratum that has both: weight, difference, the interval's middle, its variance
    for stratum in set(places[0]) & set(places[1]):
        in_first, in_second = places[0] == stratum, places[1] == stratum
        first, second = seen[in_first], unseen[in_second]
        expected = float(sure[in_first].mean() - hidden[in_second].mean())
        rates = [((agrees.sum() + 1) / (len(agrees) + 2), len(agrees) + 2) for agrees in (first, second)]
        rows.append(
            (
                len(first),
                float(first.mean() - second.mean()) - expected,
                float(rates[0][0] - rates[1][0]) - expected,
                float(sum(rate * (1 - rate) / size for rate, size in rates)),
            )
        )
    if not rows:
        return {"value": None, "interval": None, "count": count}
    weights, differences, middles, variances = np.array(rows).T
    weights = weights / weights.sum()
    half = _Z * float(np.sqrt(weights**2 @ variances))
    low, high = max(float(weights @ middles) - half, -1.0), min(float(weights @ middles) + half, 1.0)
    return {"value": round(float(weights @ differences), 4), "interval": [round(low, 4), round(high, 4)], "count": count}


def _warning(moves: Mapping[str, Any]) -> str | None:
    if moves["interval"] is None or moves["interval"][0] <= MOVED:
        return None
    low, high = moves["interval"]
    return (
        f"suggestions move people: they choose the model's side {moves['value']:+.2f} more often where it is suggested "
        f"(95 % interval {low:+.2f} to {high:+.2f}); SUGGEST=scores or none shows less"
    )
