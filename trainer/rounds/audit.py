"""Audits: each blind judgement since a certificate was made tests it anew, and one that no longer holds is withdrawn.

A round does that, whether it trains or not, and so do `certify` and `export --certified`. Of a certificate that is true, the
probability that it is ever withdrawn is at most FALSE_ALARM, however often it is audited (trainer/evaluation/drift.py).
"""

import logging
from dataclasses import replace
from datetime import UTC, datetime
from math import log

from preference.errors import PairloopError, RegistryError
from preference.formatting import per_cent
from preference.report_card.card import ReportCard
from preference.report_card.certificate import (
    Audit,
    Certificate,
    last_vote_at,
    read_audit,
    read_certificates,
    read_standing,
    write_audit,
)
from trainer.evaluation.drift import log_evidence
from trainer.reporting.figures import prompts_known_to
from trainer.rounds.blind_votes import BlindVotes, blind_votes, first_votes
from trainer.rounds.context import RoundContext
from trainer.rounds.reading import Reading

logger = logging.getLogger("pairloop.rounds")
FALSE_ALARM = 0.05


def audit_or_log(context: RoundContext, reading: Reading) -> None:
    """The same as `audit`; what fails is logged, as no round is lost for that."""
    try:
        audit(context, reading)
    except (PairloopError, OSError) as error:
        logger.warning("project %d: the certificate cannot be audited: %s", context.project.id, error)


def audit(context: RoundContext, reading: Reading) -> None:
    """Tests the champion's certificate, if it has one that stands, and writes what that gave.

    Raises:
        OSError, RegistryError: MODEL_DIR cannot be read or written.
        PairloopError: the champion cannot be loaded or asked.
    """
    standing = read_standing(context.folder.path, context.champion, now=context.clock())
    if standing is None or standing.audit.withdrawn_at or standing.certificate.version != context.champion:
        return
    certificate = standing.certificate
    if certificate.certified_from is None:
        return
    pairs = first_votes(reading.blind, known=known_prompts(context, reading), above=certificate.newest_annotation or 0)
    if not pairs:
        return
    votes = blind_votes(pairs, context.load(certificate.version))
    found = _tested(certificate, votes, now=_now(context))
    with context.folder.locked():  # another process may have read later judgements, and withdrawn it
        before = read_audit(context.folder.path, certificate)
        if before.withdrawn_at or replace(found, read_at=before.read_at) == before:
            return
        write_audit(context.folder.path, certificate, found)
    if found.withdrawn_at:
        logger.warning("project %d: the certificate %s is withdrawn: %s", context.project.id, certificate.name, found.reason)


def known_prompts(context: RoundContext, reading: Reading) -> set[str]:
    """The prompts that the champion may have learnt from, or was chosen by.

    Raises:
        RegistryError: its card cannot be read.
    """
    return prompts_known_to(_champion_card(context), [*reading.pairs, *reading.blind])


def since_withdrawn(context: RoundContext) -> int:
    """The highest annotation that does not count any more: what people chose before the champion's last certificate was withdrawn."""
    folder = context.folder.path
    withdrawn = [
        certificate.newest_annotation or 0
        for certificate in read_certificates(folder)
        if certificate.version == context.champion and read_audit(folder, certificate).withdrawn_at
    ]
    return max(withdrawn, default=0)


def _tested(certificate: Certificate, votes: BlindVotes, *, now: str) -> Audit:
    covered = votes.only(votes.confidence >= (certificate.certified_from or 0.5))
    count, agreeing, target = len(covered), int(covered.agrees.sum()), certificate.target or 0.0
    is_refuted = log_evidence(covered.agrees, target=target) >= log(1 / FALSE_ALARM)
    reason = (
        f"people chose its side in {per_cent(agreeing / count)} of {count} blind judgements since, "
        f"which {per_cent(target)} can hardly explain"
    ) if is_refuted else ""  # fmt: skip
    return Audit(
        num_votes=count,
        num_agreeing=agreeing,
        last_vote_at=last_vote_at([pair.judged_at for pair in votes.pairs]),
        read_at=now,
        withdrawn_at=now if is_refuted else "",
        reason=reason,
    )


def _champion_card(context: RoundContext) -> ReportCard:
    if context.champion_card is None:
        raise RegistryError(f"The card of the champion {context.champion} cannot be read; promote another version.")
    return context.champion_card


def _now(context: RoundContext) -> str:
    return datetime.fromtimestamp(context.clock(), UTC).isoformat(timespec="seconds")
