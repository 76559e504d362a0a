"""Whom a request is counted for: what a client says of itself counts for nothing, what trusted proxies say does."""

import pytest

from gateway.client_address import client_address, networks

PROXIES = networks("10.0.0.0/8, 2001:db8::/32")


@pytest.mark.parametrize(
    ("peer", "forwarded", "client"),
    [
        ("192.0.2.1", "", "192.0.2.1"),
        ("192.0.2.1", "203.0.113.9", "192.0.2.1"),
        ("10.0.0.1", "203.0.113.9", "203.0.113.9"),
        ("10.0.0.1", "1.1.1.1, 203.0.113.9", "203.0.113.9"),
        ("10.0.0.1", "1.1.1.1, 203.0.113.9, 10.2.3.4", "203.0.113.9"),
        ("2001:db8::1", "203.0.113.9", "203.0.113.9"),
        ("10.0.0.1", "10.0.0.2, 10.0.0.3", "10.0.0.2"),
        ("10.0.0.1", "", "10.0.0.1"),
        ("10.0.0.1", "nonsense", "unknown"),
        ("", "203.0.113.9", "unknown"),
    ],
)
def test_the_first_address_from_the_right_that_is_no_trusted_proxy_counts(peer: str, forwarded: str, client: str) -> None:
    assert client_address(peer, forwarded, PROXIES) == client


def test_without_trusted_proxies_only_the_connection_counts() -> None:
    assert client_address("10.0.0.1", "203.0.113.9", networks("")) == "10.0.0.1"


def test_a_wrong_network_is_named() -> None:
    with pytest.raises(ValueError, match="TOLLWAY_TRUSTED_PROXIES"):
        networks("10.0.0.0/33")
