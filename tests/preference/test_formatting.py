from typing import Any

import pytest

from preference.formatting import count, duration, moment, plural


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (-3, "0 s"), (0, "0 s"), (59.4, "59 s"), (89, "89 s"), (90, "2 min"), (100, "2 min"), (119, "2 min"), (89 * 60, "89 min"),
        (90 * 60, "1 h 30 min"), (7199, "2 h"), (18700, "5 h 12 min"), (40_000, "11 h"), (86400 * 2.5, "2 d 12 h"),
        (86400 * 40.5, "40 d"), (None, ""),
    ],
)  # fmt: skip
def test_durations_read_as_people_say_them(seconds: float | None, words: str) -> None:
    assert duration(seconds) == words


def test_a_moment_is_in_utc_and_nothing_if_it_is_none() -> None:
    assert moment(1795230000) == "21 Nov 2026, 03:00 UTC"
    assert moment("2026-11-21T04:00:00+01:00") == "21 Nov 2026, 03:00 UTC"
    odd: list[Any] = ["", "soon", None, 1e300, [], float("inf")]
    assert [moment(at) for at in odd] == [""] * 6


def test_a_count_has_its_thousands_apart() -> None:
    assert (count(1240), count(None)) == ("1\u2009240", "not known yet")


def test_one_of_a_thing_is_not_called_by_the_name_of_many() -> None:
    assert [plural(number, "task") for number in (0, 1, 2, None)] == ["tasks", "task", "tasks", "tasks"]
    assert [plural(number, "task lacks", "tasks lack") for number in (1, 2)] == ["task lacks", "tasks lack"]
