"""Numbers, durations and moments as people read them. What is not known is an empty text."""

from datetime import UTC, datetime
from typing import Any

from preference.tolerant import Interval


def per_cent(value: float | None) -> str:
    """A share as people read it; empty where it is not known."""
    return "" if value is None else f"{100 * value:.1f} %"


def between(interval: Interval | None) -> str:
    """An interval as people read it; empty where it is not known."""
    return "" if interval is None else f"{100 * interval[0]:.1f} to {100 * interval[1]:.1f} %"


def points(difference: float | None) -> str:
    """A difference of shares as people read it; empty where it is not known."""
    return "" if difference is None else f"{100 * difference:+.1f} points"


def short(version: str) -> str:
    """A version's number, which is enough among its like."""
    return version.partition("-")[0][:12]


def duration(seconds: float | None) -> str:
    """A time as people say it."""
    if seconds is None:
        return ""
    for size, unit, least, smaller, small in ((86400, "d", 2, 3600, "h"), (3600, "h", 1, 60, "min"), (60, "min", 1, 60, "")):
        if seconds >= least * size:
            whole, rest = divmod(round(seconds), size)
            return f"{whole} {unit} {rest // smaller} {small}" if whole < 10 and rest >= smaller else f"{whole} {unit}"
    return f"{max(0, round(seconds))} s"


def moment(at: Any) -> str:
    """A moment in UTC, from seconds since the epoch or from ISO 8601; empty where it is neither."""
    try:
        found = datetime.fromtimestamp(at, UTC) if isinstance(at, int | float) else datetime.fromisoformat(at).astimezone(UTC)
    except (ValueError, TypeError, OverflowError, OSError):
        return ""
    return f"{found:%-d %b %Y, %H:%M} UTC"


def count(number: float | None) -> str:
    """A number with its thousands apart, or that it is not known."""
    return "not known yet" if number is None else f"{number:,}".replace(",", "\u2009")
