from typing import get_args

import pytest

from preference.errors import ModelError
from preference.models import number_formats
from preference.models.number_formats import COMPUTED_IN, NF4_BYTES, NumberFormat, check_number_format, four_bit_libraries


def test_nf4_is_refused_where_its_library_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(number_formats, "find_spec", lambda name: None)

    with pytest.raises(ModelError) as caught:
        check_number_format("nf4")

    assert str(caught.value) == "A base in nf4 needs bitsandbytes, which is not installed; pip install 'pairloop[four-bit]'."
    check_number_format("bfloat16")


def test_every_format_is_computed_in_one_and_nf4_takes_a_library_more() -> None:
    assert set(COMPUTED_IN) == set(get_args(NumberFormat))
    assert [four_bit_libraries(dtype) for dtype in ("float32", "bfloat16", "nf4")] == [(), (), ("bitsandbytes",)]
    assert NF4_BYTES == 0.5625
