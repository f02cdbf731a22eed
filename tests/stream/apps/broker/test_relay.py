from __future__ import annotations

import pytest

from stream.apps.broker.relay import MOST_BYTES, MOST_SOURCES, SILENT_NS, Relay


def relay() -> tuple[Relay, list[str]]:
    said: list[str] = []
    return Relay(("faces", "status", "event"), said.append), said


def test_a_source_comes_from_one_upstream_until_that_is_silent() -> None:
    one, said = relay()
    assert one.passes(b"faces/cam0 {}", "a", 0)
    assert not one.passes(b"faces/cam0 {}", "b", 1)
    assert not one.passes(b"status/cam0 {}", "b", 2)
    assert one.passes(b"event/cam1 {}", "b", 3)
    assert one.passes(b"status/cam0 {}", "a", 4)
    assert one.passes(b"faces/cam0 {}", "b", 4 + SILENT_NS)
    assert not one.passes(b"faces/cam0 {}", "a", 5 + SILENT_NS)
    assert said[:2] == [
        "cam0 comes from a already: what b says of it is held back",
        "cam0 comes from b now; a is silent",
    ]
    assert (one.passed, one.held_back) == (4, 3)


@pytest.mark.parametrize(
    "frame",
    [b"", b"faces/cam0", b"faces {}", b"faces/ {}", b"frames/cam0 jpeg", b"faces/a b".replace(b" ", b"\x1b") + b" {}"],
)
def test_what_is_no_message_of_a_source_is_held_back(frame: bytes) -> None:
    one, _ = relay()
    assert not one.passes(frame, "a", 0)
    assert not one.passes(b"faces/cam0 " + bytes(MOST_BYTES), "a", 0)


def test_an_upstream_that_invents_sources_fills_no_memory() -> None:
    one, _ = relay()
    passed = sum(one.passes(b"status/cam%d {}" % number, "a", 0) for number in range(1000))
    assert passed == MOST_SOURCES
