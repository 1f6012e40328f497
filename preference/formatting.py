"""Numbers, durations and moments as people read them. What is not known is an empty text."""

from datetime import UTC, datetime
from typing import Any

from preference.tolerant import Interval


def per_cent(value: float | None) -> str:
    """A share as people read it; empty if it is not known."""
    return "" if value is None else f"{100 * value:.1f} %"


def between(interval: Interval | None) -> str:
    """An interval as people read it; empty if it is not known."""
    return "" if interval is None else f"{100 * interval[0]:.1f} to {100 * interval[1]:.1f} %"


def points(difference: float | None) -> str:
    """A difference of shares as people read it; empty if it is not known."""
    return "" if difference is None else f"{100 * difference:+.1f} points"


def short(version: str) -> str:
    """A version's number, which is enough among its like."""
    return version.partition("-")[0][:12]


def duration(seconds: float | None) -> str:
    """A duration as people say it: "89 s", "2 min", "5 h 11 min", "11 h", "2 d 12 h"."""
    if seconds is None:
        return ""
    minutes = round(seconds / 60)
    if seconds < 90:
        return f"{max(0, seconds):.0f} s"
    if minutes < 90:
        return f"{minutes} min"
    return _in_two_units(minutes, 60, "h", "min") if minutes < 48 * 60 else _in_two_units(round(minutes / 60), 24, "d", "h")


def _in_two_units(number: int, size: int, unit: str, smaller_unit: str) -> str:
    """Without the smaller unit from ten of the larger one on."""
    whole, rest = divmod(number, size)
    return f"{whole} {unit}" + (f" {rest} {smaller_unit}" if rest and whole < 10 else "")


def moment(at: Any) -> str:
    """A moment in UTC, from seconds since the epoch or from ISO 8601; empty if it is neither."""
    try:
        instant = datetime.fromtimestamp(at, UTC) if isinstance(at, int | float) else datetime.fromisoformat(at).astimezone(UTC)
    except (ValueError, TypeError, OverflowError, OSError):
        return ""
    return f"{instant:%-d %b %Y, %H:%M} UTC"


def plural(number: float | None, one: str, many: str = "") -> str:
    """What so many are called: "task" for 1, else "tasks", or `many` if that has more than an s."""
    return one if number == 1 else many or f"{one}s"


def count(number: float | None) -> str:
    """A number with its thousands apart, or that it is not known."""
    return "not known yet" if number is None else f"{number:,}".replace(",", "\u2009")
