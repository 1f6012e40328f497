"""Servers of the demo and the tests get ports that nobody else takes meanwhile."""

import socket
from pathlib import Path

import pytest

from demo.stack import FREE_PORTS, free_port

_OUTGOING = Path("/proc/sys/net/ipv4/ip_local_port_range")


@pytest.mark.skipif(not _OUTGOING.exists(), reason="only Linux says there which ports outgoing connections get")
def test_a_free_port_is_never_one_that_an_outgoing_connection_gets() -> None:
    first, last = map(int, _OUTGOING.read_text().split())
    if first < FREE_PORTS.stop:
        pytest.skip(f"outgoing connections get any port from {first} on here")
    assert not set(range(first, last + 1)) & {free_port() for _ in range(50)}


def test_a_free_port_is_one_that_nothing_listens_on() -> None:
    with socket.create_server(("127.0.0.1", free_port())) as taken:
        assert taken.getsockname()[1] not in {free_port() for _ in range(50)}
