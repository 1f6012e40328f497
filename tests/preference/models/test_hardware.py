import logging
import threading
from typing import Literal

import pytest
import torch

from preference.models.hardware import feature_dtype, seconds_of_a_product

CPU = torch.device("cpu")


@pytest.mark.parametrize("asked", ["float32", "bfloat16"])
def test_a_named_number_format_is_taken(asked: Literal["float32", "bfloat16"], caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)

    assert feature_dtype(asked, CPU) == asked
    assert caplog.messages == [f"the reward model's base computes in {asked} (REWARD_DTYPE)"]


@pytest.mark.parametrize("asked", ["auto", "nf4"])  # in which no frozen base is
@pytest.mark.parametrize(("half", "taken"), [(0.0015, "bfloat16"), (0.0029, "float32"), (0.005, "float32")])
def test_auto_takes_bfloat16_where_the_processor_is_clearly_faster_in_it(
    asked: Literal["auto", "nf4"], half: float, taken: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Where both are about as fast, each process would choose by chance, and read again what others have read."""
    caplog.set_level(logging.INFO)

    assert feature_dtype(asked, CPU, seconds={torch.bfloat16: half, torch.float32: 0.003}.__getitem__) == taken

    assert caplog.messages == [
        f"the reward model's base computes in {taken} (auto: on this CPU a product takes {half * 1e3:.1f} ms in bfloat16, 3.0 in float32)"
    ]


def test_auto_measures_the_processor_once_and_on_one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two threads that share a processor with others wait for each other: what they take is chance."""
    num_threads: list[int] = []

    def perf_counter() -> float:
        num_threads.append(torch.get_num_threads())
        return 0.0

    monkeypatch.setattr("preference.models.hardware.time.perf_counter", perf_counter)
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    seconds_of_a_product.cache_clear()
    try:
        for _ in range(2):
            assert feature_dtype("auto", CPU) == "bfloat16"  # by this clock none is slower
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
        seconds_of_a_product.cache_clear()

    assert num_threads == [1] * 20, "five products in each of two formats"


def test_a_generator_and_a_reward_model_measure_one_after_the_other(monkeypatch: pytest.MonkeyPatch) -> None:
    """The number of threads is the process's. The second would find the 1 of the first, and restore that last."""
    second = threading.Thread(target=seconds_of_a_product, args=(torch.float32,))
    measured: list[bool] = []

    def perf_counter() -> float:
        if not measured:
            second.start()
            second.join(0.1)  # it waits for its turn
        measured.append(threading.current_thread() is second)
        return 0.0

    monkeypatch.setattr("preference.models.hardware.time.perf_counter", perf_counter)
    seconds_of_a_product.cache_clear()
    try:
        seconds_of_a_product(torch.float32)
        second.join()
    finally:
        seconds_of_a_product.cache_clear()

    assert measured == [False] * 10 + [True] * 10
