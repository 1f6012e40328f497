"""The number formats that the weights of a reward model are in. Nothing heavy.

`nf4` is QLoRA's (arXiv 2305.14314): each linear layer of a base in 4 bits a weight, by bitsandbytes, and the rest in bfloat16. Nothing of
such a layer learns; adapters beside it do. A base is quantized anew each time it is loaded, which gives the same weights.
"""

from importlib.util import find_spec
from typing import Literal

from preference.errors import ModelError

NumberFormat = Literal["float32", "bfloat16", "nf4"]
ComputedIn = Literal["float32", "bfloat16"]
COMPUTED_IN: dict[NumberFormat, ComputedIn] = {
    "float32": "float32",
    "bfloat16": "bfloat16",
    "nf4": "bfloat16",
}  # torch's name of the format in which layers get their input and give their output
NF4_BYTES = 0.5 + 4 / 64  # of a weight: 4 bits, and a float32 for each 64 of them


def check_number_format(dtype: NumberFormat) -> None:
    """Raises ModelError if what loads weights in this format is not installed."""
    if dtype == "nf4" and find_spec("bitsandbytes") is None:
        raise ModelError("A base in nf4 needs bitsandbytes, which is not installed; pip install 'pairloop[four-bit]'.")


def four_bit_libraries(dtype: NumberFormat) -> tuple[str, ...]:
    """The packages beside torch and transformers that decide what weights in this format are."""
    return ("bitsandbytes",) if dtype == "nf4" else ()
