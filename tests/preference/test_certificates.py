"""The authorities that HTTPS trusts: read late and once, and then those of httpx."""

import ssl

import httpx

from preference.certificates import certificates


def test_authorities_are_read_for_a_handshake_and_are_httpx_s_own() -> None:
    late, usual = certificates(), httpx.create_ssl_context()
    assert late.cert_store_stats()["x509"] == 0, "making a client reads none"

    handshake = late.wrap_bio(ssl.MemoryBIO(), ssl.MemoryBIO(), server_hostname="studio.example")

    used = handshake.context
    assert used.cert_store_stats() == usual.cert_store_stats() and used.cert_store_stats()["x509"] > 0
    assert (used.verify_mode, used.check_hostname) == (ssl.CERT_REQUIRED, True)
    assert late.wrap_bio(ssl.MemoryBIO(), ssl.MemoryBIO(), server_hostname="studio.example").context is used


def test_all_clients_share_them() -> None:
    assert certificates() is certificates()
