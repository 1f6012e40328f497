"""Certificates: from which confidence on people choose a version's side, and what was audited since: <project folder>/certificates/.

    <version>-c<n>.json         what the n-th look at the version's blind judgements gave; never edited
    <version>-c<n>.audit.json   what blind judgements said since; a withdrawal stays. It is also of all looks that only confirm the n-th

Covered: a file of another build, a damaged one and a hostile one: each value is what it should be or is missing, and a certificate
that lacks one certifies nothing. A look counts as one whatever its file holds.
"""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar

from preference.atomic_files import write_whole, writing
from preference.formatting import per_cent
from preference.labelling.results import certified_mark
from preference.tolerant import Count, Known, Part, Rows, Words, adapter_of, read_as

_FOLDER, _AUDIT = "certificates", ".audit.json"
_LOOK = re.compile(r"(.+)-c([1-9][0-9]{0,5})\.json")
SILENT_DAYS = 30  # without a blind judgement, after which nobody knows whether a certificate still holds
_T = TypeVar("_T")


@dataclass(frozen=True)
class CertifiedPoint:
    """What is known of the tasks of which the version is at least so sure."""

    threshold: Part
    coverage: Known[Part] = None  # the share of the open tasks
    agreement: Known[Part] = None  # how often people chose the version's side
    lower: Known[Part] = None  # how often they do at least, by the error of the test
    count: Known[Count] = None  # blind judgements


@dataclass(frozen=True)
class Certificate:
    """What one look at a version's blind judgements gave; `certified_from` is None if it is not enough yet."""

    version: Words = ""
    look: Known[Count] = None  # the number of times that somebody looked, with this one
    made_at: Words = ""
    target: Known[Part] = None  # how often people have to choose the version's side
    confidence: Known[Part] = None  # the probability that no certificate of this version is false
    error: Known[Part] = None  # the part of the error that its test has
    confirms: Known[Count] = None  # the look that certified the same before, whose audits and marks go on
    beginning: Known[Count] = None  # the number of times that the version was tested anew, with that of this look
    start: Known[Part] = None  # the threshold that its test begins with, whenever somebody looks
    since: Known[Count] = None  # the highest annotation that did not count, since a withdrawal came after it
    num_votes: Known[Count] = None  # blind judgements, one a prompt
    newest_annotation: Known[Count] = None  # the highest id that was read
    last_vote_at: Words = ""  # when the last of the blind judgements was made
    certified_from: Known[Part] = None
    num_open: Known[Count] = None  # open tasks that have two answers
    num_covered: Known[Count] = None
    curve: Rows[CertifiedPoint] = ()
    reason: Words = ""  # why nothing is certified
    num_more: Known[Count] = None  # blind judgements that may certify `coverage_then`
    coverage_then: Known[Part] = None

    @property
    def name(self) -> str:
        """What rows and logs call it: all looks that only confirm one have its name."""
        return f"{self.version}-c{self.confirms or self.look}"

    @property
    def mark(self) -> str:
        """The model version of Label Studio predictions that it covers."""
        return certified_mark(self.version, self.confirms or self.look)

    @property
    def coverage(self) -> float | None:
        """The share of the open tasks that it covers."""
        return self.num_covered / self.num_open if self.num_open and self.num_covered is not None else None

    @property
    def point(self) -> CertifiedPoint | None:
        """What was known at `certified_from`."""
        below = [point for point in self.curve if self.certified_from is not None and point.threshold >= self.certified_from]
        return min(below, key=lambda point: point.threshold, default=None)

    def __str__(self) -> str:
        more = ""
        if self.num_more is not None and self.coverage_then is not None:
            more = f"; {self.num_more} more blind judgements may certify {per_cent(self.coverage_then)}"
        if self.certified_from is None:
            return f"{self.version} is not certified yet: {self.reason}{more and f'{more} of the open tasks'}"
        covered = "there is no open task"
        if self.coverage is not None:
            covered = f"that is {per_cent(self.coverage)} of the {self.num_open} open tasks"
        return (
            f"{self.version} is certified from confidence {self.certified_from:.2f} on: people choose its side in at least "
            f"{per_cent(self.target)} of such tasks, with {per_cent(self.confidence)} confidence; {covered}{more}"
        )


@dataclass(frozen=True)
class Audit:
    """What blind judgements said of a certificate since it was made."""

    num_votes: Known[Count] = None
    num_agreeing: Known[Count] = None
    last_vote_at: Words = ""
    read_at: Words = ""
    withdrawn_at: Words = ""  # empty while it stands
    reason: Words = ""  # why it was withdrawn


@dataclass(frozen=True)
class Standing:
    """A look at a version as it stands at a moment."""

    certificate: Certificate
    audit: Audit
    problem: str  # why it covers no task now; empty if it does

    def __str__(self) -> str:
        is_given = self.certificate.certified_from is not None
        return f"{self.certificate.name}: {self.problem}" if is_given and self.problem else str(self.certificate)


def read_certificates(folder: Path) -> list[Certificate]:
    """All looks of a project, the latest first.

    Raises:
        OSError: a file may not be read.
    """
    every = []
    for path in (folder / _FOLDER).glob("*.json"):
        if (match := _LOOK.fullmatch(path.name)) is not None:
            state = path.stat()
            every.append(_read_look(path, match.group(1), int(match.group(2)), (state.st_mtime_ns, state.st_size)))
    return sorted(every, key=lambda known: (known.made_at, known.look or 0), reverse=True)


def read_audit(folder: Path, certificate: Certificate) -> Audit:
    """What is known of a certificate since it was made; nothing if it was not audited.

    Raises:
        OSError: the file may not be read.
    """
    return _read(Audit, folder / _FOLDER / f"{certificate.name}{_AUDIT}")


def read_standing(folder: Path, champion: str | None, *, now: float, version: str | None = None) -> Standing | None:
    """The look that is to be shown of a version, or of the champion, else of any: its latest that certified something, else its latest.

    None if there was none. `now`: seconds since 1970.

    Raises:
        OSError: a file may not be read.
    """
    every = read_certificates(folder)
    wanted = version or champion
    looks = [known for known in every if known.version == wanted] or ([] if version else every)
    shown = next((known for known in looks if known.certified_from is not None and known.target), next(iter(looks), None))
    if shown is None:
        return None
    audit = read_audit(folder, shown)
    return Standing(shown, audit, _problem(shown, audit, champion, now=now))


def write_certificate(folder: Path, certificate: Certificate) -> None:
    """Writes the outcome of one look.

    Raises:
        RegistryError: MODEL_DIR is full or not writable.
    """
    _write(folder / _FOLDER / f"{certificate.version}-c{certificate.look}.json", certificate)


def write_audit(folder: Path, certificate: Certificate, audit: Audit) -> None:
    """Writes what is known of a certificate now, in place of what was known before.

    Raises:
        RegistryError: MODEL_DIR is full or not writable.
    """
    _write(folder / _FOLDER / f"{certificate.name}{_AUDIT}", audit)


def values_of(known: Certificate | Audit) -> dict[str, Any]:
    """All of it as JSON can hold it."""
    values: dict[str, Any] = adapter_of(type(known)).dump_python(known)
    return values


def last_vote_at(votes: Sequence[str | None], *, before: str = "") -> str:
    """When the last of these judgements was made, or that of `before` if it was later."""
    return max([before, *(at for at in votes if at)])


def _problem(certificate: Certificate, audit: Audit, champion: str | None, *, now: float) -> str:
    if certificate.certified_from is None or not certificate.target:
        return certificate.reason or "nothing is certified"
    if audit.withdrawn_at:
        return f"withdrawn: {audit.reason}"
    if certificate.version != champion:
        return f"the champion is another version, {champion}" if champion else "no version is served"
    last = _moment(last_vote_at([audit.last_vote_at, certificate.last_vote_at]))
    if last is None or datetime.fromtimestamp(now, UTC) - last > timedelta(days=SILENT_DAYS):
        return f"there was no blind judgement for {SILENT_DAYS} days, so nobody knows whether it still holds"
    return ""


def _moment(text: str) -> datetime | None:
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        return None
    return at if at.tzinfo else at.replace(tzinfo=UTC)


@lru_cache(4096)  # pages and passes read all looks each time, a millisecond each; a look is never edited
def _read_look(path: Path, version: str, look: int, state: tuple[int, int]) -> Certificate:
    return _read(Certificate, path, version=version, look=look)


def _read(kind: type[_T], path: Path, **known: Any) -> _T:
    try:
        values = json.loads(path.read_text(encoding="utf-8", errors="replace"))
    except (FileNotFoundError, ValueError, RecursionError):
        values = {}
    return read_as(kind, {**(values if isinstance(values, dict) else {}), **known})


def _write(path: Path, known: Certificate | Audit) -> None:
    with writing(path.parent):
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, json.dumps(values_of(known), indent=1, ensure_ascii=False))
