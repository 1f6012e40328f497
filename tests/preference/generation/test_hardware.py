import logging
from pathlib import Path

import psutil
import pytest
import torch
from transformers import GPT2Config, LlamaConfig

from preference.generation.hardware import num_tokens_that_fit, pick_dtype
from preference.models.out_of_memory import is_out_of_memory, release_memory

CPU = torch.device("cpu")
LLAMA = LlamaConfig(hidden_size=64, num_hidden_layers=3, num_attention_heads=8, num_key_value_heads=2, head_dim=16)
BYTES_A_TOKEN = 2 * 3 * 2 * 16 * 4  # keys and values, layers, heads, size of a head, float32


@pytest.mark.parametrize("asked", ["float32", "bfloat16", "float16"])
def test_a_named_number_format_is_taken(asked: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)

    assert pick_dtype(asked, CPU) is getattr(torch, asked)
    assert caplog.messages == [f"the generator computes in {asked} (DTYPE)"]


@pytest.mark.parametrize(("half", "taken"), [(0.002, torch.bfloat16), (0.0035, torch.float32)])
def test_auto_takes_bfloat16_where_the_processor_is_no_slower_in_it(
    half: float, taken: torch.dtype, caplog: pytest.LogCaptureFixture
) -> None:
    """Whether it has units for it does not tell: some are slower in bfloat16 all the same."""
    caplog.set_level(logging.INFO)

    assert pick_dtype("auto", CPU, seconds={torch.bfloat16: half, torch.float32: 0.003}.__getitem__) is taken

    name = str(taken).removeprefix("torch.")
    assert caplog.messages == [
        f"the generator computes in {name} (auto: on this CPU a product takes {half * 1e3:.1f} ms in bfloat16, 3.0 in float32)"
    ]


def test_a_share_of_the_free_memory_is_for_keys_and_values() -> None:
    num_tokens = num_tokens_that_fit(LLAMA, dtype=torch.float32, device=CPU)

    assert 0 < num_tokens * BYTES_A_TOKEN <= psutil.virtual_memory().total / 4


def test_half_precision_and_fewer_heads_let_more_tokens_fit(cgroup: Path) -> None:
    wide = LlamaConfig(hidden_size=64, num_hidden_layers=3, num_attention_heads=8, num_key_value_heads=8, head_dim=16)
    full = num_tokens_that_fit(LLAMA, dtype=torch.float32, device=CPU, cgroup=cgroup)

    assert num_tokens_that_fit(LLAMA, dtype=torch.bfloat16, device=CPU, cgroup=cgroup) == pytest.approx(2 * full, abs=1)
    assert num_tokens_that_fit(wide, dtype=torch.float32, device=CPU, cgroup=cgroup) == pytest.approx(full / 4, abs=1)


def test_a_config_without_key_heads_and_head_size_is_read_too(cgroup: Path) -> None:
    gpt2 = GPT2Config(n_embd=32, n_layer=3, n_head=1)

    assert num_tokens_that_fit(gpt2, dtype=torch.float32, device=CPU, cgroup=cgroup) == num_tokens_that_fit(
        LLAMA, dtype=torch.float32, device=CPU, cgroup=cgroup
    )


@pytest.fixture
def cgroup(tmp_path: Path) -> Path:
    """A container's folder, which lets 1 GB be used, of which 400 MB are, and 50 MB of files that were read."""
    (tmp_path / "memory.max").write_text("1000000000\n")
    (tmp_path / "memory.current").write_text("450000000\n")
    (tmp_path / "memory.stat").write_text("anon 400000000\nfile 50000000\ninactive_file 50000000\nactive_file 0\n")
    return tmp_path


def test_a_containers_limit_counts(cgroup: Path) -> None:
    assert num_tokens_that_fit(LLAMA, dtype=torch.float32, device=CPU, cgroup=cgroup) == 150_000_000 // BYTES_A_TOKEN


@pytest.mark.parametrize("limit", ["max\n", None, str(2**62)], ids=["none", "no cgroup", "more than there is"])
def test_a_container_without_a_limit_has_the_machines_memory(cgroup: Path, limit: str | None) -> None:
    (cgroup / "memory.max").unlink()
    if limit:
        (cgroup / "memory.max").write_text(limit)

    assert num_tokens_that_fit(LLAMA, dtype=torch.float32, device=CPU, cgroup=cgroup) * BYTES_A_TOKEN > 150_000_000


def test_a_container_that_is_full_has_no_room(cgroup: Path) -> None:
    (cgroup / "memory.current").write_text("1200000000")

    assert num_tokens_that_fit(LLAMA, dtype=torch.float32, device=CPU, cgroup=cgroup) == 0


def test_torchs_own_error_is_known_as_out_of_memory() -> None:
    with pytest.raises(RuntimeError) as raised:
        torch.empty(2**60)

    assert is_out_of_memory(raised.value)


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB. GPU 0 has a total capacity of 23.69 GiB"),
        RuntimeError("CUDA error: out of memory\nCUDA kernel errors might be asynchronously reported"),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
        RuntimeError("MPS backend out of memory (MPS allocated: 18.00 GB, other allocations: 384.00 KB)"),
    ],
    ids=["CUDA", "CUDA outside of torch's allocator", "cuBLAS", "MPS"],
)
def test_out_of_memory_errors_of_gpus_are_recognized(error: RuntimeError) -> None:
    assert is_out_of_memory(error)


def test_another_error_is_not() -> None:
    with pytest.raises(RuntimeError) as raised:
        torch.zeros(2, 3) @ torch.zeros(2, 3)

    assert not is_out_of_memory(raised.value)


def test_memory_can_be_given_back_at_any_time() -> None:
    release_memory(CPU)
