from __future__ import annotations

import pytest

from stream.apps.view.access import Access


@pytest.mark.parametrize("host", ["127.0.0.1:8090", "localhost:8090", "LOCALHOST", "[::1]:8090", "127.0.0.1"])
def test_loopback_is_known_by_its_own_names(host: str) -> None:
    assert Access.to("127.0.0.1").host(host)


@pytest.mark.parametrize(
    "host",
    [None, "", "evil.example", "evil.example:8090", "127.0.0.1.evil.example", "192.168.1.7:8090", "[fe80::1]:80"],
)
def test_another_name_is_refused_on_loopback(host: str | None) -> None:
    assert not Access.to("127.0.0.1").host(host)


def test_beyond_this_machine_addresses_and_given_names_are_known_and_a_token_is_needed() -> None:
    access = Access.to("0.0.0.0", ("robot.local",))
    assert access.token is not None
    assert len(access.token) >= 32
    assert access.host("192.168.1.7:8090")
    assert access.host("robot.local:8090")
    assert not access.host("evil.example")
    assert not access.knows(None)
    assert not access.knows("")
    assert not access.knows(access.token[:-1])
    assert access.knows(access.token)
    assert access.token not in repr(access)
    assert Access.to("0.0.0.0").token != access.token


def test_on_loopback_no_token_is_needed() -> None:
    assert Access.to("::1").knows(None)
    assert Access.to("localhost").knows(None)
    assert not Access.to("somewhere").knows(None)


def test_only_this_page_may_ask() -> None:
    access = Access.to("127.0.0.1")
    assert access.origin(None, "127.0.0.1:8090")
    assert access.origin("http://127.0.0.1:8090", "127.0.0.1:8090")
    assert access.origin("https://127.0.0.1:8090", "127.0.0.1:8090")
    for other in ("http://evil.example", "http://127.0.0.1:8091", "null", "", "http://127.0.0.1:8090.evil.example"):
        assert not access.origin(other, "127.0.0.1:8090")
    assert not access.origin("http://x", None)
