"""One look at the champion's blind judgements: what of the open tasks its side can be certified for.

Covered: whoever looks again and again, or at a moment that was chosen by the votes, has no better chance of a false certificate.
Another target, and the votes after a withdrawal, are tested anew, with a part of the error of their own. Asked again without a new blind
judgement, it gives the same look.
Not covered: open tasks on which people agree with the model less often than on judged ones of which it is as sure. If it is less sure
of the open tasks that would be covered than of the judged ones, nothing is certified.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime

import numpy as np

from preference.errors import TrainingError
from preference.report_card.certificate import (
    Certificate,
    CertifiedPoint,
    last_vote_at,
    read_certificates,
    write_certificate,
)
from trainer.certifying.open_tasks import OpenTasks, decide_open_tasks
from trainer.evaluation.fixed_sequence import THRESHOLDS, Counts, certified_from, error_of, least_votes, lower_bounds, start_of
from trainer.evaluation.intervals import Array
from trainer.rounds.audit import audit, known_prompts, since_withdrawn
from trainer.rounds.blind_votes import BlindVotes, blind_votes, first_votes
from trainer.rounds.context import RoundContext
from trainer.rounds.reading import read_pairs

logger = logging.getLogger("pairloop.rounds")
_MORE = (25, 50, 100, 150, 200, 300, 400, 500, 750, 1000, 1500, 2000, 3000, 5000)  # blind judgements, of a forecast
_WORTH_MORE = 0.1  # of the open tasks: what is forecast is to certify as many more


def certify(context: RoundContext, *, target: float, confidence: float) -> Certificate:
    """What people's blind judgements certify of the champion now; that is kept in the project's folder.

    `target`: how often people have to choose its side, above .5 and below 1. `confidence`: the probability that no certificate of
    this version is false, 0..1, at whatever moments it is asked for.

    Raises:
        StudioError: Label Studio does not answer, or refuses.
        NoComparison, LayoutError: there are no comparisons.
        TrainingError: there is no champion, no control group, or the answers are ranked.
        ModelError, RegistryError: the champion cannot be loaded, or MODEL_DIR is full or not writable.
    """
    if context.champion is None:
        raise TrainingError(f"Project {context.project.id} has no champion to certify yet; judge more tasks.")
    if not context.control.percent and context.control.held_out is None:
        raise TrainingError(
            "CONTROL_PERCENT=0, so that nobody judges without a suggestion; set it to 10, say, for the backend and here."
        )
    reading = read_pairs(context)
    if reading.layout.ranker is not None:
        raise TrainingError(f"Project {context.project.id} ranks lists of answers; only comparisons of two can be certified.")
    audit(context, reading)
    pairs, model = first_votes(reading.blind, known=known_prompts(context, reading)), context.load(context.champion)
    every_vote, tasks = blind_votes(pairs, model), decide_open_tasks(context.project, reading.layout, model)
    newest = max((pair.annotation_id or 0 for pair in [*reading.pairs, *reading.blind]), default=0)
    with context.folder.locked():  # so that no two looks have one number, and no other process withdraws one meanwhile
        since = since_withdrawn(context)
        votes = every_vote.above(since)
        looks = [known for known in read_certificates(context.folder.path) if known.version == context.champion]
        asked = (len(votes), last_vote_at([pair.judged_at for pair in votes.pairs]), target, confidence)
        for known in looks:
            if (known.num_votes, known.last_vote_at, known.target, known.confidence) == asked:
                return known
        by_lot = np.array([context.control.has(pair.task_id, pair.question) for pair in tasks.pairs], bool)
        sample = np.append(votes.confidence, tasks.confidence[by_lot])
        begun = beginning_of(looks, sample, target=target, confidence=confidence, since=since)
        certificate = replace(
            look(votes, tasks, begun),
            version=context.champion,
            look=max((known.look or 0 for known in looks), default=0) + 1,
            made_at=datetime.fromtimestamp(context.clock(), UTC).isoformat(timespec="seconds"),
            newest_annotation=newest,
            last_vote_at=last_vote_at([pair.judged_at for pair in votes.pairs]),
        )
        write_certificate(context.folder.path, certificate)
    logger.info("project %d: look %d: %s", context.project.id, certificate.look, certificate)
    return certificate


@dataclass(frozen=True)
class Beginning:
    """Where the hypotheses are tested from, and at which error: the same for all looks with one target between two withdrawals."""

    number: int  # 1 for the first of a version
    target: float
    confidence: float
    start: float  # the threshold that is tested first
    since: int = 0  # the highest annotation that does not count

    @property
    def error(self) -> float:
        """The part of the error that all its looks have together."""
        return error_of(self.number, confidence=self.confidence)


def beginning_of(looks: Sequence[Certificate], sample: Array, *, target: float, confidence: float, since: int) -> Beginning:
    """That of an earlier one of these looks with this target, else a new one.

    `sample`: (num_tasks,) the version's confidences of the control group's tasks, judged or open. They decide where it starts. Votes do not,
    nor does the moment of the first look, which somebody may choose by the votes: a task that is judged stays in the sample. All open
    tasks would be no such sample, since the least certain ones are judged first.
    """
    earlier = [known for known in looks if (known.target, known.since) == (target, since) and known.beginning]
    number = next((known.beginning for known in earlier), None)
    if number is None:  # a look whose file is damaged has spent its part of the error, too
        number = 1 + max((known.beginning or 0 for known in looks), default=0) + sum(not known.beginning for known in looks)
    start = next((known.start for known in earlier if known.start in THRESHOLDS), None)
    return Beginning(number, target, confidence, start or start_of(sample, target=target), since)


def look(votes: BlindVotes, tasks: OpenTasks, begun: Beginning) -> Certificate:
    """What a look at these votes gives of these open tasks."""
    counts = Counts.of(votes.confidence, votes.agrees)
    found = certified_from(counts, target=begun.target, error=begun.error, start=begun.start)
    reason = "" if found is not None else _why_not(counts, begun)
    if found is not None and tasks.are_less_sure_than(votes, above=found):
        found, reason = (
            None,
            "it is less sure of the open tasks than of those that were judged blind, which therefore say little of them",
        )
    open_confidence = tasks.confidence
    coverage = [float((open_confidence >= threshold).mean()) if len(open_confidence) else None for threshold in THRESHOLDS]
    at = THRESHOLDS.index(found) if found is not None else None
    num_more, coverage_then = _forecast(counts, coverage, begun, now=0.0 if at is None else coverage[at] or 0.0)
    if found is None and num_more is None and len(votes) >= least_votes(target=begun.target, error=begun.error):
        reason += f"; if people go on as until now, {_MORE[-1]} more will not do"
    return Certificate(
        target=begun.target, confidence=begun.confidence, error=round(begun.error, 9), beginning=begun.number, start=begun.start, since=begun.since,
        num_votes=len(votes), certified_from=found, num_open=len(open_confidence),
        num_covered=int((open_confidence >= found).sum()) if found is not None else 0,
        curve=_curve(counts, coverage, error=begun.error), reason=reason, num_more=num_more, coverage_then=coverage_then,
    )  # fmt: skip


def _why_not(counts: Counts, begun: Beginning) -> str:
    count, least = int(counts.votes[0]), least_votes(target=begun.target, error=begun.error)
    if count < least:
        return f"there are {count} blind judgements on prompts that are new to it, and {least} are needed at least"
    return f"{count} blind judgements do not show that people choose its side often enough where it is surest"


def _forecast(
    counts: Counts, coverage: Sequence[float | None], begun: Beginning, *, now: float
) -> tuple[int | None, float | None]:
    """How many more blind judgements may certify how much, if people go on as until now; None if that is not known."""
    count = counts.votes[0]
    for more in _MORE if count else ():
        found = certified_from(counts.times((count + more) / count), target=begun.target, error=begun.error, start=begun.start)
        share = coverage[THRESHOLDS.index(found)] if found is not None else None
        if share is not None and share >= now + (_WORTH_MORE if now else 1e-9):
            return more, round(share, 4)
    return None, None


def _curve(counts: Counts, coverage: Sequence[float | None], *, error: float) -> tuple[CertifiedPoint, ...]:
    """A point for each threshold above which there are fewer votes than at it."""
    lower = lower_bounds(counts, error=error)
    share = np.divide(counts.agreeing, counts.votes, out=np.zeros(len(lower)), where=counts.votes > 0)
    rows = [i for i in range(len(lower)) if counts.votes[i] and counts.votes[i] != [*counts.votes, 0][i + 1]]
    return tuple(
        CertifiedPoint(
            THRESHOLDS[i], None if coverage[i] is None else round(coverage[i] or 0.0, 4), round(float(share[i]), 4),
            round(float(lower[i]), 4), int(counts.votes[i]),
        )
        for i in rows
    )  # fmt: skip
