"""One look at the champion's blind judgements: what of the open tasks its side can be certified for.

Covered: whoever looks again and again, or at a moment that was chosen by the votes, has no better chance of a false certificate. A look that
confirms the one before goes on with its audits: a true certificate is not put at risk anew by each look.
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
from trainer.evaluation.fixed_sequence import (
    BETWEEN,
    THRESHOLDS,
    Counts,
    certified_from,
    error_of,
    least_votes,
    lower_bounds,
    start_of,
)
from trainer.evaluation.intervals import Array
from trainer.rounds.audit import audit, known_prompts, since_withdrawn
from trainer.rounds.blind_votes import BlindVotes, blind_votes, first_votes
from trainer.rounds.context import RoundContext
from trainer.rounds.reading import read_pairs

logger = logging.getLogger("pairloop.rounds")
_MOST_MORE = 5000  # blind judgements, of a forecast
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
        certificate = _as_known(certificate, looks)
        write_certificate(context.folder.path, certificate)
    logger.info("project %d: look %d: %s", context.project.id, certificate.look, certificate)
    return certificate


def _as_known(certificate: Certificate, looks: Sequence[Certificate]) -> Certificate:
    """The same one, which goes on with the audits and the marks of the look that it only confirms, if there is one."""
    of = (certificate.certified_from, certificate.beginning, certificate.confidence)
    latest = next((known for known in looks if known.certified_from is not None), None)
    if latest is None or certificate.certified_from is None or (latest.certified_from, latest.beginning, latest.confidence) != of:
        return certificate
    return replace(certificate, confirms=latest.confirms or latest.look, newest_annotation=latest.newest_annotation)


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
    error, start = begun.error, begun.start
    known = Counts.of(votes.confidence, votes.agrees)
    found = next(reversed(certified_from(known, target=begun.target, error=error, start=start)), None)
    reason = "" if found is not None else _why_not(len(votes), begun)
    if found is not None and tasks.are_less_sure_than(votes, above=found):
        found, reason = (
            None,
            "it is less sure of the open tasks than of those that were judged blind, which therefore say little of them",
        )
    open_confidence = tasks.confidence
    coverage = [float((open_confidence >= threshold).mean()) if len(open_confidence) else None for threshold in THRESHOLDS]
    at = THRESHOLDS.index(found) if found is not None else None
    num_more, coverage_then = _forecast(votes, coverage, begun, now=0.0 if at is None else coverage[at] or 0.0)
    if found is None and num_more is None and len(votes) >= least_votes(target=begun.target, error=error):
        reason += f"; if people go on as until now, {_MOST_MORE} more will not do"
    return Certificate(
        target=begun.target, confidence=begun.confidence, error=round(error, 9), beginning=begun.number, start=start, since=begun.since,
        num_votes=len(votes), certified_from=found, num_open=len(open_confidence),
        num_covered=int((open_confidence >= found).sum()) if found is not None else 0,
        curve=_curve(votes, known, coverage, error=error), reason=reason, num_more=num_more, coverage_then=coverage_then,
    )  # fmt: skip


def _why_not(num_votes: int, begun: Beginning) -> str:
    least = least_votes(target=begun.target, error=begun.error)
    if num_votes < least:
        return f"there are {num_votes} blind judgements on prompts that are new to it, and {least} are needed at least"
    num_tested = num_votes - num_votes % BETWEEN
    return f"{num_tested} blind judgements do not show that people choose its side often enough where it is surest"


def _forecast(
    votes: BlindVotes, coverage: Sequence[float | None], begun: Beginning, *, now: float
) -> tuple[int | None, float | None]:
    """How many more blind judgements may certify how much, if people go on as until now; None if that is not known."""
    if not len(votes):
        return None, None
    to_come = Counts.of(votes.confidence, votes.agrees, more=_MOST_MORE)
    for moment, found in enumerate(certified_from(to_come, target=begun.target, error=begun.error, start=begun.start), start=1):
        more, share = moment * BETWEEN - len(votes), coverage[THRESHOLDS.index(found)] if found is not None else None
        if more > 0 and share is not None and share >= now + (_WORTH_MORE if now else 1e-9):
            return more, round(share, 4)
    return None, None


def _curve(votes: BlindVotes, known: Counts, coverage: Sequence[float | None], *, error: float) -> tuple[CertifiedPoint, ...]:
    """A point for each threshold above which there are fewer votes than at it."""
    lower = lower_bounds(known, error=error)
    above = votes.confidence >= np.array(THRESHOLDS)[:, None]  # (num_thresholds, num_votes)
    count = above.sum(1)
    return tuple(
        CertifiedPoint(
            THRESHOLDS[i], None if coverage[i] is None else round(coverage[i] or 0.0, 4),
            round(float(votes.agrees[above[i]].mean()), 4), round(float(lower[i]), 4), int(count[i]),
        )
        for i in range(len(THRESHOLDS)) if count[i] and count[i] != [*count, 0][i + 1]
    )  # fmt: skip
