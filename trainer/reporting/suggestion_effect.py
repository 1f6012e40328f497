"""How far suggestions move people: judgements made with a suggestion, beside those of the control group, which saw none.

Whether an annotator saw a suggestion is read from the prediction that the annotation was made from. Where it shows nothing, the task
is in the control group, or its version was not sure enough to light a side, and there are no rewards to be shown instead: the id of
the task says which. Beyond that, today's settings say nothing of what was shown.

Judgements are compared if their version suggested on some tasks and showed nothing on others, and if nobody had judged their
prompt when the version's judgements were read. The version may have trained on prompts that were judged earlier.

Uncertainty sampling serves the least certain tasks first, and those of the control group in any order. So people agree
with the model less often on tasks with a suggestion, even if suggestions move nobody. Each task is therefore compared only with
tasks on which the model is about as sure.

Not covered: another CONTROL_PERCENT than when the tasks were scored. With a smaller one, tasks that showed nothing count as not sure
enough; with a larger one, the other way round.
"""

import logging
import math
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from preference.errors import PairloopError
from preference.labelling.control_group import ControlGroup
from preference.labelling.controls.verdict import Side
from preference.labelling.pairs import PreferencePair
from preference.labelling.prompts import normalised, opening
from preference.report_card.card import ReportCard
from preference.report_card.figures import ControlAccuracy, JudgementGroup, SuggestionEffect
from preference.report_card.shares import ShareDifference
from preference.reward_model.model import RewardModel
from trainer.evaluation.intervals import Array, middle, share
from trainer.evaluation.pair_rewards import once_each
from trainer.people.judgements import Comparison, Judgement, judgements_of, left_rate, outcomes_by_task, with_suggestion
from trainer.reporting.figures import AT_LEAST, prompts_known_to
from trainer.reporting.steering import Agreement, moves

logger = logging.getLogger("pairloop.reporting")
MOVED = 0.05  # the report warns if people choose the model's side by more than this more often, beyond doubt
_MOST_BLIND = 500  # judgements of the control group, the newest: each costs the version that was served two rewards


@dataclass(frozen=True)
class _Preference:
    """The side that the served version prefers of a task, and how sure it is of it."""

    side: Side
    confidence: float


def suggestion_effect(
    pairs: Sequence[PreferencePair], *, cards: Sequence[ReportCard], load: Callable[[str], RewardModel],
    control: ControlGroup | None = None,
) -> SuggestionEffect | None:  # fmt: skip
    """Judgements made with a suggestion beside those of the control group; None if no version has both.

    `cards`: of all versions that may have been served. `load`: gives one of those versions, or raises PairloopError. For the
    control group, the model's side is what the version that was served says of the task now. `control`: that
    group; None if every task that showed nothing is in it. `warning` is a sentence if the lower end of the interval of
    `moves` is above MOVED.
    """
    judgements = [made for made in judgements_of(pairs) if made.outcome is not None]
    versions = compared_versions(judgements, control=control)
    if not versions:
        return None
    left_out: Counter[str] = Counter()
    comparable = _comparable(judgements, pairs, versions, cards, left_out=left_out)
    has_suggestion = {id(made) for made in with_suggestion(judgements)}
    suggested = [made for made in comparable if id(made) in has_suggestion]
    blind = [made for made in comparable if _is_control(made, control)]
    unlit = [made for made in comparable if id(made) not in has_suggestion and not _is_control(made, control)]
    preferences = _preferences(blind, load, left_out=left_out)
    outcomes = outcomes_by_task(judgements)
    steered, unsteered = _agreement(suggested, [_suggestion(made) for made in suggested]), _agreement(blind, preferences)
    if unlit and len(steered):  # no task on which its version was less sure has a suggestion
        unsteered = unsteered.only(unsteered.confidence >= steered.confidence.min())
    moved = moves(steered, unsteered)
    return SuggestionEffect(
        with_suggestion=_group(suggested, [made.suggested_side for made in suggested], outcomes),
        unlit=_group(unlit, [made.suggested_side for made in unlit], outcomes) if unlit else None,
        without=_group(blind, [known.side if known else None for known in preferences], outcomes),
        moves=moved,
        warning=_warning(moved),
        left_out=dict(left_out),
    )


def control_accuracy(
    holdout: Sequence[PreferencePair], versions: set[str], *, this: Array | None, champion: Array | None,
    control: ControlGroup | None = None,
) -> ControlAccuracy:  # fmt: skip
    """The accuracy of both models on the control group's held-out comparisons.

    `versions`: those of compared_versions. `this`, `champion`: whether the model is right on each of `holdout`.
    """
    rows = np.array([_is_control(pair, control) and pair.suggested_version in versions for pair in holdout], bool)
    pairs = [pair for pair, is_in in zip(holdout, rows, strict=True) if is_in]
    both = [None if right is None else share(once_each(right[rows], pairs), at_least=AT_LEAST) for right in (this, champion)]
    return ControlAccuracy(*both)


def compared_versions(judgements: Sequence[Judgement], *, control: ControlGroup | None = None) -> set[str]:
    """The versions that suggested on some judged tasks and showed nothing on others, those of the control group."""
    suggested = {made.suggested_version for made in with_suggestion(judgements)}
    blind = {made.suggested_version for made in judgements if _is_control(made, control)}
    return {version for version in suggested & blind if version is not None}


def _is_control(made: Judgement | PreferencePair, control: ControlGroup | None) -> bool:
    """Whether nothing was shown because the task is in the control group; that counts as so if the task is not known."""
    return made.is_blind and (control is None or made.task_id is None or control.has(made.task_id, made.question))


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
        elif normalised(opening(made.question)) in known[made.suggested_version]:
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
    judgements: Sequence[Judgement], sides: Sequence[Side | None], outcomes: Mapping[Comparison, Mapping[int, str]]
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


def _with_majority(made: Judgement, outcomes: Mapping[Comparison, Mapping[int, str]]) -> list[float]:
    """[1] if the annotator agrees with most of the others on the task, else [0]; [1 / n] if n outcomes are equally frequent.

    Empty if nobody else judged the task.
    """
    if made.task_id is None or made.annotator_id is None:
        return []
    others = Counter(outcome for who, outcome in outcomes.get(made.comparison, {}).items() if who != made.annotator_id)
    most = [outcome for outcome, count in others.items() if count == max(others.values())]
    return [(made.outcome in most) / len(most)] if most else []


def _agreement(judgements: Sequence[Judgement], preferences: Sequence[_Preference | None]) -> Agreement:
    """Of those judgements for which the model's preference is known."""
    known = [(made, preference) for made, preference in zip(judgements, preferences, strict=True) if preference is not None]
    return Agreement(
        np.array([made.outcome == preference.side for made, preference in known], float),
        np.array([preference.confidence for _, preference in known], float),
    )


def _warning(moved: ShareDifference) -> str | None:
    if moved.interval is None or moved.interval[0] <= MOVED:
        return None
    low, high = moved.interval
    return (
        f"suggestions move people: they choose the model's side {moved.value:+.2f} more often if it is suggested "
        f"(95 % interval {low:+.2f} to {high:+.2f}); SUGGEST=scores or none shows less"
    )
