import json
import math
from typing import Any

import pytest

from preference.studio.storable import storable


@pytest.mark.parametrize(
    ("value", "expected", "num_changed"),
    [
        ("a\0b\0", "ab", 2),
        ("cut \ud83d", "cut \N{REPLACEMENT CHARACTER}", 1),
        ("\ude00\ud83d", "\N{REPLACEMENT CHARACTER}" * 2, 2),
        ("\ud83d\ude00", "😀", 0),  # as two halves, which are one letter
        ("😀 \N{REPLACEMENT CHARACTER} \x01\x7f\u2028\ufffe", "😀 \N{REPLACEMENT CHARACTER} \x01\x7f\u2028\ufffe", 0),
        (
            {"a\0": ["\0", {"b": ("c\ud83d", 1)}]},
            {"a\N{REPLACEMENT CHARACTER}": ["", {"b": ["c\N{REPLACEMENT CHARACTER}", 1]}]},
            3,
        ),
        ({"a\0": 1, "a": 2}, {"a\N{REPLACEMENT CHARACTER}": 1, "a": 2}, 1),  # no value is lost with its name
        ([math.nan, -math.inf, 1e308, 0.0], [None, None, 1e308, 0.0], 2),
        ([None, True, 10**30], [None, True, 10**30], 0),
    ],
)
def test_what_no_database_takes_is_changed_and_counted(value: Any, expected: Any, num_changed: int) -> None:
    stored, counted = storable(value)

    assert (stored, counted) == (expected, num_changed)
    assert json.dumps(stored, ensure_ascii=False, allow_nan=False).encode("utf-8")
