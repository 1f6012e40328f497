"""What one annotator did: how much, how fast, on which side, and how often like others, like before and like the ground truth.

Nobody's judgements are left out for what stands here: it is flagged, and people decide.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import datetime
from statistics import median

from scipy.stats import binomtest

from preference.report_card.people_figures import AnnotatorFigures, AnnotatorWeek
from preference.report_card.shares import Share
from trainer.evaluation.intervals import share
from trainer.people.judgements import MIN_SHARED, Comparison, Judgement, Outcome, Texts, left_rate, outcomes_alike

_ONE_SIDED = 0.8
# In both answers. 1,000 words a minute, of six letters each: twice the pace at which comprehension is lost (Rayner et al. 2016, "So much
# to read, so little time", Psychological Science in the Public Interest 17).
_CHARACTERS_A_SECOND = 100
_FAST_SHARE, _LEAST_TIMED = 0.25, 10
_MOST_WEEKS = 26
Shared = Mapping[Comparison, Mapping[int, Outcome]]


def annotator_figures(
    annotator: int | None, made: Sequence[Judgement], *, again: Sequence[Judgement] = (), of_others: Sequence[Judgement] = (),
    shared: Shared, truth: Mapping[Comparison, Judgement],
) -> AnnotatorFigures:  # fmt: skip
    """The row of one annotator, who made these judgements. `shared`: as outcomes_by_task has it; `truth`: as ground_truth has it.

    `again`, `of_others`: what this annotator said of repeats, of their own judgements and of others'. It counts for agreement alone.
    """
    alike = _alike(annotator, [*made, *of_others], shared)
    agreement = share([value for _, value in alike], at_least=MIN_SHARED)
    num_timed = sum(bool(judgement.lead_seconds) for judgement in made)
    num_fast = sum(map(_is_too_fast, made))
    weeks = _weeks(made, alike)
    right = [
        float(judgement.outcome == true.outcome)
        for judgement in made
        if judgement.outcome is not None and not judgement.is_ground_truth and (true := truth.get(judgement.comparison))
    ]
    return AnnotatorFigures(
        annotator=annotator,
        num_judgements=len(made),
        num_ties=sum(judgement.outcome == "tie" for judgement in made),
        left_rate=left_rate(made),
        agreement=agreement,
        # Annotators whom nobody knows any more may be several.
        with_self=share(_repeated([*made, *again]) if annotator is not None else [], at_least=MIN_SHARED),
        gold=share(right, at_least=MIN_SHARED),
        lead_seconds=_lead_seconds(made),
        num_too_fast=num_fast if num_timed else None,
        weeks=tuple(weeks) if len(weeks) > 1 else (),
        flags=(*_one_sided(made), *_contrary(agreement), *_hasty(num_fast, num_timed), *_drifting(alike)),
    )


def ground_truth(judgements: Sequence[Judgement]) -> dict[Comparison, Judgement]:
    """What is marked as ground truth, by comparison; the latest if several are."""
    marked = [judgement for judgement in judgements if judgement.is_ground_truth and judgement.outcome is not None]
    return {judgement.comparison: judgement for judgement in sorted(marked, key=_moment)}


def _moment(judgement: Judgement) -> tuple[str, int]:
    return judgement.judged_at or "", judgement.annotation_id or 0


def _alike(annotator: int | None, made: Sequence[Judgement], shared: Shared) -> list[tuple[Judgement, float]]:
    """Each comparison that others judged as well: the latest judgement of it, and the share of the others that judged alike."""
    latest = {judgement.comparison: judgement for judgement in sorted(made, key=_moment) if judgement.outcome is not None}
    alike = []
    for comparison, judgement in latest.items():
        outcomes = shared.get(comparison, {})
        others = [outcome for other, outcome in outcomes.items() if other != annotator]
        if annotator is not None and others and judgement.outcome is not None:
            alike.append((judgement, outcomes_alike(judgement.outcome, others)))
    return alike


def _repeated(made: Sequence[Judgement]) -> list[float]:
    """For each comparison that somebody judged again, whichever answer stood left then: whether the outcome was the same."""
    before: dict[Texts, str] = {}
    same = []
    for judgement in sorted(made, key=_moment):
        key = judgement.texts
        if judgement.answers is None or key is None or judgement.outcome is None or judgement.is_ranking:
            continue
        chosen = "" if judgement.outcome == "tie" else judgement.answers[judgement.outcome == "right"]
        if key in before:
            same.append(float(before[key] == chosen))
        before[key] = chosen
    return same


def _is_too_fast(judgement: Judgement) -> bool:
    """Whether nobody reads both answers in that time."""
    seconds = judgement.lead_seconds
    if not seconds or seconds < 0 or judgement.answers is None:
        return False
    return sum(map(len, judgement.answers)) > _CHARACTERS_A_SECOND * seconds


def _lead_seconds(made: Sequence[Judgement]) -> float | None:
    lead = [judgement.lead_seconds for judgement in made if judgement.lead_seconds is not None and judgement.lead_seconds > 0]
    return round(median(lead), 1) if lead else None


def _weeks(made: Sequence[Judgement], alike: Sequence[tuple[Judgement, float]]) -> list[AnnotatorWeek]:
    """A row for each week, by the calendar of ISO 8601, the latest last."""
    by_week: dict[str, list[Judgement]] = defaultdict(list)
    agreed: dict[str, list[float]] = defaultdict(list)
    for judgement in made:
        if week := _week(judgement):
            by_week[week].append(judgement)
    for judgement, value in alike:
        agreed[_week(judgement)].append(value)
    return [
        AnnotatorWeek(
            week, len(those), left_rate(those), share(agreed[week], at_least=MIN_SHARED), lead_seconds=_lead_seconds(those)
        )
        for week, those in sorted(by_week.items())[-_MOST_WEEKS:]
    ]


def _week(judgement: Judgement) -> str:
    try:
        year, week, _ = datetime.fromisoformat(judgement.judged_at or "").isocalendar()
    except ValueError:
        return ""
    return f"{year}-W{week:02}"


def _one_sided(made: Sequence[Judgement]) -> list[str]:
    """A flag if one side won more than four times in five, and a coin would do that once in a thousand at most."""
    for side in ("left", "right"):
        num, total = sum(each.outcome == side for each in made), sum(each.outcome in ("left", "right") for each in made)
        if total and num > _ONE_SIDED * total and binomtest(num, total, alternative="greater").pvalue < 0.001:
            return [f"nearly always picks {side}"]
    return []


def _contrary(agreement: Share) -> list[str]:
    """A flag if somebody agrees with the others less than a coin does."""
    return ["disagrees with the others"] if agreement.interval is not None and agreement.interval[1] < 0.5 else []


def _hasty(num_fast: int, num_timed: int) -> list[str]:
    if num_timed < _LEAST_TIMED or num_fast <= _FAST_SHARE * num_timed:
        return []
    return [f"judged {num_fast} of {num_timed} faster than anybody reads"]


def _drifting(alike: Sequence[tuple[Judgement, float]]) -> list[str]:
    """A flag if somebody agrees with the others less in the latest week than before, beyond noise: the 95 % intervals are apart."""
    weeks = sorted({week for judgement, _ in alike if (week := _week(judgement))})
    if len(weeks) < 2:
        return []
    latest = share([value for judgement, value in alike if _week(judgement) == weeks[-1]], at_least=MIN_SHARED)
    before = share([value for judgement, value in alike if _week(judgement) < weeks[-1]], at_least=MIN_SHARED)
    is_less = latest.interval is not None and before.interval is not None and latest.interval[1] < before.interval[0]
    return ["agrees with the others less than in earlier weeks"] if is_less else []
