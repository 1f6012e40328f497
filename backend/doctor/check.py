"""What a check found, and how checks are run one after another."""

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from preference.errors import PairloopError

logger = logging.getLogger("pairloop.doctor")
SubjectT = TypeVar("SubjectT")


@dataclass(frozen=True)
class Finding:
    """How one thing is."""

    check: str
    ok: bool | None  # None: it was not looked at
    found: str
    fix: str = ""  # what to do if it is not ok


class CheckFailed(Exception):
    """Something is not as it should be."""

    def __init__(self, found: str, fix: str) -> None:
        super().__init__(found)
        self.found, self.fix = found, fix


@dataclass(frozen=True)
class Check(Generic[SubjectT]):
    """One thing to look at."""

    name: str
    look: Callable[[SubjectT], str]  # what was found if all is well; else it raises CheckFailed or a PairloopError
    needs: Sequence[str] = ()  # names of checks that must be well for this one to make sense


def run_checks(
    checks: Sequence[Check[SubjectT]], subject: SubjectT, *, before: Sequence[Finding] = (), prefix: str = ""
) -> Iterator[Finding]:
    """A finding for each check, in order; `before`: of checks that these may need. `prefix` stands before their names."""
    failed = {finding.check for finding in before if not finding.ok}
    for check in checks:
        lacking = next((name for name in check.needs if name in failed), None)
        finding = _skipped(check.name, lacking) if lacking else _finding(check, subject)
        if not finding.ok:
            failed.add(check.name)
        yield Finding(f"{prefix}{finding.check}", finding.ok, finding.found, finding.fix)


def _skipped(name: str, lacking: str) -> Finding:
    return Finding(name, None, f"skipped: it needs what `{lacking}` looks at")


def _finding(check: Check[SubjectT], subject: SubjectT) -> Finding:
    try:
        return Finding(check.name, True, check.look(subject))
    except CheckFailed as failed:
        return Finding(check.name, False, failed.found, failed.fix)
    except PairloopError as error:  # such a sentence ends with what to do
        found, _, fix = str(error).rpartition("; ")
        return Finding(check.name, False, found or fix, fix if found else "correct what that names")
    except Exception as error:  # whatever is wrong with this machine, the other checks are still of use
        logger.debug("the check %s failed", check.name, exc_info=True)
        return Finding(check.name, False, f"the check itself failed ({type(error).__name__}: {error})", "report this line")
