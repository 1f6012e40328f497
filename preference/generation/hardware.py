"""What the hardware offers a generator: a number format, and room for so many tokens."""

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from preference.models.hardware import CGROUP, free_bytes, seconds_of_a_product

logger = logging.getLogger("pairloop.generators")
# Of what is free, the share for keys and values; growing buffers exist twice for a moment, and the rest is the others'.
_SHARE = 0.25


def pick_dtype(
    asked: str, device: torch.device, *, seconds: Callable[[torch.dtype], float] = seconds_of_a_product
) -> torch.dtype:
    """The number format to compute in, logged with the reason; `asked` is `auto` or the name of one.

    `seconds`: of one product on the CPU in a format; measured once a process.
    """
    if asked == "int8":  # of its linear layers (int8.py); what is around them is exact
        dtype, reason = torch.float32, "DTYPE=int8: its linear layers multiply in 8 bits"
    elif asked != "auto":
        dtype, reason = getattr(torch, asked), "DTYPE"
    elif device.type == "cuda":
        has_bf16 = torch.cuda.is_bf16_supported(including_emulation=False)
        dtype = torch.bfloat16 if has_bf16 else torch.float16
        reason = f"auto: the GPU {'computes in bfloat16' if has_bf16 else 'has no bfloat16, so the other half format'}"
    elif device.type == "mps":
        dtype, reason = torch.float16, "auto: the GPU computes in float16"
    else:
        # What the processor says of itself does not tell: by its products, a Xeon with AVX512_BF16 and without AMX (a virtual machine may
        # hide it) is 0.6 times as fast as in float32, an EPYC with AVX512_BF16 twice as fast.
        half, single = seconds(torch.bfloat16), seconds(torch.float32)
        dtype = torch.bfloat16 if half <= single else torch.float32
        reason = f"auto: on this CPU a product takes {half * 1e3:.1f} ms in bfloat16, {single * 1e3:.1f} in float32"
    assert isinstance(dtype, torch.dtype)
    logger.info("the generator computes in %s (%s)", str(dtype).removeprefix("torch."), reason)
    return dtype


def num_tokens_that_fit(config: Any, *, dtype: torch.dtype, device: torch.device, cgroup: Path = CGROUP) -> int:
    """Tokens whose keys and values fit beside everything else in the memory that is free now.

    `cgroup`: the folder in which Linux says what a container may use.
    """
    width = 0
    for layer in config.get_text_config().per_layer_config:  # Gemma 4's differ
        num_heads = int(getattr(layer, "num_attention_heads", 0) or 1)
        key_heads = int(getattr(layer, "num_key_value_heads", 0) or num_heads)
        width += key_heads * int(getattr(layer, "head_dim", 0) or layer.hidden_size // num_heads)
    return int(_SHARE * free_bytes(device, cgroup)) // (2 * width * dtype.itemsize)
