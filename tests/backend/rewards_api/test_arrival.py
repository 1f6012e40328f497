"""Requests for rewards are known by their first line, before they are read."""

import contextvars
import time

import pytest

from backend.rewards_api.arrival import arrived_at, is_for_rewards, remember_arrival


@pytest.mark.parametrize(
    "line",
    ["POST /score HTTP/1.1", "POST /projects/12/get_reward HTTP/1.1", "POST /projects/12@v3/classify?x=1 HTTP/1.1", "POST /projects/x/pooling "],
)  # fmt: skip
def test_a_request_for_rewards_is_known(line: str) -> None:
    assert is_for_rewards(f"{line}\r\nHost: localhost\r\n".encode())


@pytest.mark.parametrize(
    "line", ["", "POST", "GET /score HTTP/1.1", "POST /predict HTTP/1.1", "POST /scores HTTP/1.1", "POST /projects/1/2/score ", "POST //score "]
)  # fmt: skip
def test_others_are_not(line: str) -> None:
    assert not is_for_rewards(line.encode())


def test_a_request_arrived_when_the_server_says_and_now_if_it_says_nothing() -> None:
    def told() -> float:
        remember_arrival(7.0)
        return arrived_at()

    before = time.monotonic()

    assert contextvars.copy_context().run(told) == 7.0
    assert before <= arrived_at() <= time.monotonic()
