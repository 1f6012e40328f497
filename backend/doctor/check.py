"""The finding of a check, and how checks run one after another."""

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from preference.errors import PairloopError

logger = logging.getLogger("pairloop.doctor")
SubjectT = TypeVar("SubjectT")


@dataclass(frozen=True)
class Finding:
    """How one check ended."""

    check: str
    ok: bool | None  # None: it was skipped
    sentence: str
    fix: str = ""  # what to do if it is not ok


class CheckFailed(Exception):
    """Something is not as it should be."""

    def __init__(self, sentence: str, fix: str) -> None:
        super().__init__(sentence)
        self.sentence, self.fix = sentence, fix


@dataclass(frozen=True)
class Check(Generic[SubjectT]):
    """One thing to look at."""

    name: str
    look: Callable[[SubjectT], str]  # gives the sentence if all is well; else raises CheckFailed or a PairloopError
    needs: Sequence[str] = ()  # names of checks that must be well for this one to make sense


def run_checks(
    checks: Sequence[Check[SubjectT]], subject: SubjectT, *, before: Sequence[Finding] = (), prefix: str = ""
) -> Iterator[Finding]:
    """A finding for each check, in order.

    `before`: the findings of other checks that these may need. `prefix` is put before the checks' names.
    """
    failed = {finding.check for finding in before if not finding.ok}
    for check in checks:
        lacking = next((name for name in check.needs if name in failed), None)
        finding = _skipped(check.name, lacking) if lacking else _finding(check, subject)
        if not finding.ok:
            failed.add(check.name)
        yield Finding(f"{prefix}{finding.check}", finding.ok, finding.sentence, finding.fix)


def _skipped(name: str, lacking: str) -> Finding:
    return Finding(name, None, f"skipped: it needs what `{lacking}` looks at")


def _finding(check: Check[SubjectT], subject: SubjectT) -> Finding:
    try:
        return Finding(check.name, True, check.look(subject))
    except CheckFailed as failed:
        return Finding(check.name, False, failed.sentence, failed.fix)
    except PairloopError as error:  # such a sentence ends with what to do
        sentence, _, fix = str(error).rpartition("; ")
        return Finding(check.name, False, sentence or fix, fix if sentence else "correct what that names")
    except Exception as error:  # whatever is wrong with this machine, the other checks are still of use
        logger.debug("the check %s failed", check.name, exc_info=True)
        return Finding(check.name, False, f"the check itself failed ({type(error).__name__}: {error})", "report this line")
