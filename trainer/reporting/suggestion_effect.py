"""How far suggestions move people: judgements made with a suggestion, beside those of the control group, which saw none.

Whether an annotator saw a suggestion is read from the prediction that the annotation was made from. Today's settings say nothing
about it.

Judgements are compared if their version suggested on some tasks and showed nothing on others, and if nobody had judged their
prompt when the version's judgements were read. The version may have trained on prompts that were judged earlier.

Uncertainty sampling serves the least certain tasks first, and those of the control group in any order. So people agree
with the model less often on tasks with a suggestion, even if suggestions move nobody. Each task is therefore compared only with
tasks on which the model is about as sure.

Not covered: SUGGEST=none set while a version is served; its judgements then count as the control group's.
"""

import logging
import math
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from preference.errors import PairloopError
from preference.labelling.pairs import PreferencePair
from preference.labelling.prompts import normalised, opening
from preference.labelling.verdict import Side
from preference.report_card.card import ReportCard
from preference.report_card.figures import ControlAccuracy, JudgementGroup, SuggestionEffect
from preference.report_card.shares import ShareDifference
from preference.reward_model.model import RewardModel
from trainer.evaluation.intervals import Array, middle, share
from trainer.reporting.annotators import Judgement, judgements_of, left_rate, outcomes_by_task
from trainer.reporting.figures import AT_LEAST, prompts_known_to

logger = logging.getLogger("pairloop.reporting")
MOVED = 0.05  # the report warns if people choose the model's side by more than this more often, beyond doubt
_MOST_BLIND = 500  # judgements of the control group, the newest: each costs the version that was served two rewards
_PER_STRATUM, _MOST_STRATA = 20, 4  # of the control group's judgements
# Judgements of the control group, for a value. What is subtracted within strata supposes a model that is right as often as it is
# sure. If it is too sure, fewer and wider strata show people as moved whom nothing moves. Simulated with people who agree as often
# however sure it is, and a tenth of the tasks judged: false warnings in 8 % of reports at 40 and 50, in 3 to 5 % from 60 on.
_LEAST_BLIND = 3 * _PER_STRATUM
_Z = 1.959964  # of a 95 % interval


@dataclass(frozen=True)
class _Preference:
    """The side that the served version prefers of a task, and how sure it is of it."""

    side: Side
    confidence: float


@dataclass(frozen=True, eq=False)
class _Agreement:
    """Of some judgements: whether people chose the model's side, and how sure the model is of it."""

    agrees: Array  # (num_judgements,) 1 or 0
    confidence: Array  # (num_judgements,) .5..1

    def __len__(self) -> int:
        return len(self.agrees)

    def only(self, rows: NDArray[np.bool_]) -> "_Agreement":
        """The same of some of them."""
        return _Agreement(self.agrees[rows], self.confidence[rows])


def suggestion_effect(
    pairs: Sequence[PreferencePair], *, cards: Sequence[ReportCard], load: Callable[[str], RewardModel]
) -> SuggestionEffect | None:
    """Judgements made with a suggestion beside those of the control group; None if no version has both.

    `cards`: of all versions that may have been served. `load`: gives one of those versions, or raises PairloopError. For the
    control group, the model's side is what the version that was served says of the task now. `warning` is a sentence if the
    lower end of the interval of `moves` is above MOVED.
    """
    judgements = [made for made in judgements_of(pairs) if made.outcome is not None]
    versions = compared_versions(judgements)
    if not versions:
        return None
    left_out: Counter[str] = Counter()
    comparable = _comparable(judgements, pairs, versions, cards, left_out=left_out)
    suggested = [made for made in comparable if made.suggested_side is not None]
    blind = [made for made in comparable if made.is_blind]
    preferences = _preferences(blind, load, left_out=left_out)
    outcomes = outcomes_by_task(judgements)
    moves = _moves(_agreement(suggested, [_suggestion(made) for made in suggested]), _agreement(blind, preferences))
    return SuggestionEffect(
        with_suggestion=_group(suggested, [made.suggested_side for made in suggested], outcomes),
        without=_group(blind, [known.side if known else None for known in preferences], outcomes),
        moves=moves,
        warning=_warning(moves),
        left_out=dict(left_out),
    )


def control_accuracy(
    holdout: Sequence[PreferencePair], versions: set[str], *, this: Array | None, champion: Array | None
) -> ControlAccuracy:
    """The accuracy of both models on the control group's held-out comparisons.

    `versions`: those of compared_versions. `this`, `champion`: whether the model is right on each of `holdout`.
    """
    rows = np.array([pair.is_blind and pair.suggested_version in versions for pair in holdout], bool)
    both = [None if right is None else share(right[rows], at_least=AT_LEAST) for right in (this, champion)]
    return ControlAccuracy(*both)


def compared_versions(judgements: Sequence[Judgement]) -> set[str]:
    """The versions that suggested on some judged tasks and showed nothing on others."""
    suggested = {made.suggested_version for made in judgements if made.suggested_side is not None}
    blind = {made.suggested_version for made in judgements if made.is_blind}
    return {version for version in suggested & blind if version is not None}


def _comparable(
    judgements: Sequence[Judgement], pairs: Sequence[PreferencePair], versions: set[str], cards: Sequence[ReportCard], *,
    left_out: Counter[str],
) -> list[Judgement]:  # fmt: skip
    """Those of compared versions on which their version cannot have trained."""
    known = {card.version: prompts_known_to(card, pairs) for card in cards if card.version in versions}
    comparable = []
    for made in judgements:
        if made.suggested_side is None and not made.is_blind:
            left_out["no prediction was seen"] += 1
        elif made.suggested_version not in versions:
            left_out["its version suggested to all, or to none"] += 1
        elif made.suggested_version not in known:
            left_out["its version is gone"] += 1
        elif normalised(opening(made.prompt)) in known[made.suggested_version]:
            left_out["its version may have trained on the prompt"] += 1
        else:
            comparable.append(made)
    return comparable


def _suggestion(made: Judgement) -> _Preference | None:
    if made.suggested_side is None or made.suggested_confidence is None:
        return None
    return _Preference(made.suggested_side, made.suggested_confidence)


def _preferences(
    blind: Sequence[Judgement], load: Callable[[str], RewardModel], *, left_out: Counter[str]
) -> list[_Preference | None]:
    """What the version that was served prefers of each task; None for older ones, and if it cannot be loaded or asked."""
    preferences: list[_Preference | None] = [None for _ in blind]
    newest = sorted(range(len(blind)), key=lambda i: blind[i].judged_at or "")[-_MOST_BLIND:]
    by_version: dict[str, list[int]] = defaultdict(list)
    for i in newest:
        by_version[blind[i].suggested_version or ""].append(i)
    for version, places in by_version.items():
        texts = [(blind[i].prompt, answer) for i in places for answer in blind[i].answers or ()]
        try:
            model = load(version)
            rewards = model.score([prompt for prompt, _ in texts], [answer for _, answer in texts]).reshape(-1, 2).tolist()
        except PairloopError as error:  # no trained round is lost for a figure of its report
            left_out["its version cannot be loaded or asked"] += len(places)
            logger.warning("%d judgements of the control group are not compared: %s: %s", len(places), version, error)
            continue
        for i, (left, right) in zip(places, rewards, strict=True):
            if math.isfinite(left - right):
                preferences[i] = _Preference("left" if left >= right else "right", model.confidence(left, right))
    return preferences


def _group(
    judgements: Sequence[Judgement], sides: Sequence[Side | None], outcomes: Mapping[int, Mapping[int, str]]
) -> JudgementGroup:
    """`sides`: the model's, of each judgement. `outcomes`: those of outcomes_by_task."""
    known = [(made, side) for made, side in zip(judgements, sides, strict=True) if side is not None]
    lead = [made.lead_seconds for made in judgements if made.lead_seconds is not None and made.lead_seconds > 0]
    return JudgementGroup(
        num_judgements=len(judgements),
        model_side=share([float(made.outcome == side) for made, side in known], at_least=AT_LEAST),
        majority=share([agrees for made in judgements for agrees in _with_majority(made, outcomes)], at_least=AT_LEAST),
        left_rate=left_rate(judgements, at_least=AT_LEAST),
        lead_seconds=middle(lead, at_least=AT_LEAST),
    )


def _with_majority(made: Judgement, outcomes: Mapping[int, Mapping[int, str]]) -> list[float]:
    """[1] if the annotator agrees with most of the others on the task, else [0]; [1 / n] if n outcomes are equally frequent.

    Empty if nobody else judged the task.
    """
    if made.task_id is None or made.annotator_id is None:
        return []
    others = Counter(outcome for who, outcome in outcomes.get(made.task_id, {}).items() if who != made.annotator_id)
    most = [outcome for outcome, count in others.items() if count == max(others.values())]
    return [(made.outcome in most) / len(most)] if most else []


def _agreement(judgements: Sequence[Judgement], preferences: Sequence[_Preference | None]) -> _Agreement:
    """Of those judgements for which the model's preference is known."""
    known = [(made, preference) for made, preference in zip(judgements, preferences, strict=True) if preference is not None]
    return _Agreement(
        np.array([made.outcome == preference.side for made, preference in known], float),
        np.array([preference.confidence for _, preference in known], float),
    )


def _moves(suggested: _Agreement, blind: _Agreement) -> ShareDifference:
    """How much more often people choose the model's side if it is suggested, among tasks on which the model is as sure.

    Tasks are divided into strata of like confidence, which hold equally many of the control group. The differences of the strata
    are averaged, weighted as the tasks with a suggestion are.
    """
    count = min(len(suggested), len(blind))
    if count < AT_LEAST or len(blind) < _LEAST_BLIND:
        return ShareDifference(count=count)
    num_strata = min(_MOST_STRATA, len(blind) // _PER_STRATUM)
    edges = np.quantile(blind.confidence, np.arange(1, num_strata) / num_strata)
    places = np.digitize(suggested.confidence, edges), np.digitize(blind.confidence, edges)
    strata = [
        _stratum(suggested.only(places[0] == number), blind.only(places[1] == number))
        for number in set(places[0]) & set(places[1])
    ]
    if not strata:
        return ShareDifference(count=count)
    sizes, differences, middles, variances = np.array(strata).T
    weights = sizes / sizes.sum()
    center, half = float(weights @ middles), _Z * float(np.sqrt(weights**2 @ variances))
    low, high = max(center - half, -1.0), min(center + half, 1.0)
    return ShareDifference(round(float(weights @ differences), 4), (round(low, 4), round(high, 4)), count)


def _stratum(suggested: _Agreement, blind: _Agreement) -> tuple[float, float, float, float]:
    """Of one stratum: its size, the difference, the middle of the difference's interval, and its variance.

    Confidence still differs a little within a stratum, which is subtracted. The interval adds an agreement and a disagreement to
    each side, so that a few judgements which all agree are not taken for certainty (Agresti and Caffo 2000, "Simple and effective
    confidence intervals", The American Statistician 54).
    """
    expected = float(suggested.confidence.mean() - blind.confidence.mean())
    first, second = ((side.agrees.sum() + 1) / (len(side) + 2) for side in (suggested, blind))
    variance = first * (1 - first) / (len(suggested) + 2) + second * (1 - second) / (len(blind) + 2)
    difference = float(suggested.agrees.mean() - blind.agrees.mean()) - expected
    return len(suggested), difference, float(first - second) - expected, float(variance)


def _warning(moves: ShareDifference) -> str | None:
    if moves.interval is None or moves.interval[0] <= MOVED:
        return None
    low, high = moves.interval
    return (
        f"suggestions move people: they choose the model's side {moves.value:+.2f} more often if it is suggested "
        f"(95 % interval {low:+.2f} to {high:+.2f}); SUGGEST=scores or none shows less"
    )
