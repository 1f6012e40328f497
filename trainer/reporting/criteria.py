"""What annotators say beside the comparison: how far they agree on it, and how accurate the version is by it."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from typing import Any

from preference.labelling.controls.criteria import criteria_of
from preference.labelling.controls.verdict import VerdictControl
from preference.labelling.pairs import PreferencePair, drawn
from preference.labelling.prompts import normalised
from preference.report_card.people_figures import CriterionFigures
from preference.report_card.shares import Share
from trainer.evaluation.intervals import share
from trainer.evaluation.pair_rewards import Rewards
from trainer.people.judgements import MIN_SHARED, Judgement

_AT_LEAST = 8  # comparisons that an accuracy is the mean of
_MOST_CRITERIA, _MOST_VALUES = 20, 10
_Texts = tuple[str, str, str]  # question, the better answer, the other one


def criteria_figures(
    judgements: Sequence[Judgement], votes: Sequence[PreferencePair], holdout: Sequence[PreferencePair], rewards: Rewards | None
) -> tuple[CriterionFigures, ...]:
    """A row for each criterion, those that were filled most often first.

    `agreement`: how often two annotators of one comparison say the same. A criterion whose values name sides ("First is more
    helpful") has an `accuracy`: how often the version prefers the side that it names. Any other has one by value: how often the
    version prefers the chosen answer if that was said. Both are of `votes`, whose answers are among `holdout`, which has `rewards`.
    Of an order of several answers, whose sides nobody sees, the pair that stands for it (`drawn`) counts.
    A criterion with more than ten values, or of which most were given once, such as a reason in words, is only counted.
    """
    said: dict[str, list[tuple[Judgement, Any]]] = defaultdict(list)
    for made in judgements:
        for name, value in criteria_of(made.criteria).items():
            said[name].append((made, value))
    better, once = _rewards_by_text(holdout, rewards), _once_each(votes)
    ordered = sorted(said.items(), key=lambda item: (-len(item[1]), item[0]))[:_MOST_CRITERIA]
    return tuple(_figures(name, made, once, better) for name, made in ordered)


def _figures(
    name: str, said: Sequence[tuple[Judgement, Any]], votes: Sequence[PreferencePair], right: dict[_Texts, float]
) -> CriterionFigures:
    values = {text for _, value in said for text in _texts(value)}
    names_sides = _names_sides(values)
    by_value: dict[str, list[float]] = defaultdict(list)
    of_sides: list[float] = []
    for vote in votes:
        value = criteria_of(vote.criteria).get(name)
        if vote.kind == "written" or value is None:
            continue
        if names_sides:
            is_half = vote.kind != "vote" and vote.chosen_side == "right"  # a tie is two pairs of one judgement
            if vote.kind != "ranking" and not is_half:
                side, texts = _side(value), (vote.chosen, vote.rejected)
                if side is not None and vote.chosen_side is not None:
                    of_sides += _outcome(vote, *(texts if side == vote.chosen_side else texts[::-1]), right)
        elif vote.kind in ("vote", "ranking"):
            for text in _texts(value):
                by_value[text] += _outcome(vote, vote.chosen, vote.rejected, right)
    few = len(values) <= min(_MOST_VALUES, len(said) // 2)  # else they are words of people's own
    return CriterionFigures(
        name=name,
        num_judgements=len(said),
        agreement=_agreement(said) if few else None,
        accuracy=share(of_sides, at_least=_AT_LEAST) if names_sides else None,
        by_value={text: share(by_value[text], at_least=_AT_LEAST) for text in sorted(values)} if few and not names_sides else {},
    )


def _once_each(votes: Sequence[PreferencePair]) -> list[PreferencePair]:
    """The pairs with one for each order of several answers."""
    orders: dict[tuple[int | None, int | None], list[PreferencePair]] = defaultdict(list)
    for vote in votes:
        if vote.kind == "ranking":
            orders[vote.task_id, vote.annotation_id].append(vote)
    return [*(vote for vote in votes if vote.kind != "ranking"), *map(drawn, orders.values())]


def _rewards_by_text(holdout: Sequence[PreferencePair], rewards: Rewards | None) -> dict[_Texts, float]:
    """Whether the version prefers the first of two answers, for each held-out comparison, both ways."""
    right: dict[_Texts, float] = {}
    for pair, gap in zip(holdout, rewards.gaps if rewards is not None else (), strict=rewards is not None):
        question = normalised(pair.question)
        right[question, pair.chosen, pair.rejected] = float(gap > 0)
        right[question, pair.rejected, pair.chosen] = float(gap < 0)
    return right


def _outcome(vote: PreferencePair, better: str, other: str, right: dict[_Texts, float]) -> list[float]:
    """[whether the version prefers one answer to the other]; [] if the comparison was decided by nobody."""
    outcome = right.get((normalised(vote.question), better, other))
    return [] if outcome is None else [outcome]


def _agreement(said: Sequence[tuple[Judgement, Any]]) -> Share:
    by_task: dict[int, dict[int, tuple[str, ...]]] = defaultdict(dict)
    for made, value in sorted(said, key=lambda item: (item[0].judged_at or "", item[0].annotation_id or 0)):
        if made.task_id is not None and made.annotator_id is not None:
            by_task[made.task_id][made.annotator_id] = tuple(sorted(_texts(value)))
    counts = [Counter(values.values()) for values in by_task.values() if len(values) > 1]
    alike = [sum(n * (n - 1) for n in count.values()) / (count.total() * (count.total() - 1)) for count in counts]
    return share(alike, at_least=MIN_SHARED)


def _names_sides(values: Iterable[str]) -> bool:
    """Whether each value is understood as a verdict is, and one of them as a side."""
    meanings = {VerdictControl("").meaning(value) for value in values}
    return None not in meanings and bool(meanings & {"left", "right"})


def _side(value: Any) -> str | None:
    meanings = {VerdictControl("").meaning(text) for text in _texts(value)}
    return meanings.pop() if len(meanings) == 1 else None


def _texts(value: Any) -> list[str]:
    parts = value if isinstance(value, list) else [value]
    return [f"{part:g}" if isinstance(part, int | float) and not isinstance(part, bool) else str(part) for part in parts]
