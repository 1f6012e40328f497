"""How a version became the champion: a log that grows beside its published files, which are never edited.

One JSON object a line: `at` (ISO 8601, UTC), `by` ("judge", "hand" or "rollback"), `before` (the champion until then, or null)
and `reason`.
Covered: a clock that is set back; a log that cannot be written stops nobody; a line that a crash tore is passed over, and the next is whole.
Not covered: a crash between the log and the champion's pointer, which moves last: then the log names a promotion that did not happen.
"""

import json
import logging
import os
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Literal

logger = logging.getLogger("pairloop.projects")
By = Literal["judge", "hand", "rollback"]
Promotions = tuple[dict[str, Any], ...]  # of one version, oldest first
PROMOTIONS = "promotions.jsonl"


def log_promotion(folder: Path, entry: dict[str, Any]) -> None:
    """Adds a line to the log in a version's folder; if that fails, the reason goes to the process's log."""
    line = json.dumps(entry, ensure_ascii=False)  # in which a shell of another encoding may have put half a letter
    try:
        with (folder / PROMOTIONS).open("a+b") as file:
            if file.tell() and not _ends_a_line(file.fileno()):
                file.write(b"\n")
            file.write(line.encode("utf-8", "replace") + b"\n")
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        logger.warning("%s cannot be written (%s), so this promotion is not logged there", folder / PROMOTIONS, error.strerror)


def read_promotions(folder: Path) -> Promotions:
    """The promotions of a version, oldest first; what is not a line of the log is passed over."""
    try:
        lines = (folder / PROMOTIONS).read_bytes().splitlines()
    except OSError:
        return ()
    return tuple(entry for line in lines if (entry := _read(line)) is not None)


def next_moment(logs: Iterable[Sequence[Mapping[str, Any]]]) -> str:
    """Now, or just after the last of these promotions if the clock was set back since: `at` puts them in order."""
    now = datetime.now(UTC).isoformat(timespec="microseconds")
    last = max((str(entry["at"]) for log in logs for entry in log), default="")
    try:
        after = datetime.fromisoformat(last) + timedelta(microseconds=1)
    except (ValueError, OverflowError):  # none, or nothing that is a time
        return now
    return max(now, after.isoformat(timespec="microseconds"))


def champions_before(present: str | None, promotions: Mapping[str, Sequence[Mapping[str, Any]]]) -> list[str]:
    """The champions that led to the present one, oldest first; one that was rolled back is not among them.

    `present`: None if there is none, and then there is none before it. `promotions`: of each version, by its name.
    """
    line: list[str] = []
    if present is None:
        return line
    entries = [(entry, version) for version, log in promotions.items() for entry in log]
    for entry, version in sorted(entries, key=lambda item: str(item[0]["at"])):
        if entry["by"] == "rollback" and version in line:
            _cut(line, version)
            continue
        if entry["before"] is not None and line[-1:] != [entry["before"]]:  # its own log was deleted, or never written
            line.append(entry["before"])
        line.append(version)
    if present in line:  # else it could not be logged
        _cut(line, present)
        line.pop()
    return line


def _cut(line: list[str], version: str) -> None:
    """Drops all after the last `version`."""
    while line[-1] != version:
        line.pop()


def _ends_a_line(descriptor: int) -> bool:
    return os.pread(descriptor, 1, os.fstat(descriptor).st_size - 1) == b"\n"


def _read(line: bytes) -> dict[str, Any] | None:
    try:
        entry = json.loads(line)
    except (ValueError, RecursionError):
        return None
    if not isinstance(entry, dict) or not {"at", "by", "before"} <= entry.keys():
        return None
    return entry if isinstance(entry["before"], str | None) else None
