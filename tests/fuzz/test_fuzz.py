"""The corpus of ``make fuzz`` and a few inputs by chance, through every reader of untrusted bytes."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.fuzz.targets import TARGETS, seeds

CORPUS = Path(__file__).with_name("corpus")


@cache
def good(name: str) -> list[bytes]:
    return [each[:4096] for each in seeds(name)]


@pytest.mark.parametrize("name", TARGETS)
def test_what_once_reached_new_code_is_read_or_refused(name: str) -> None:
    kept = sorted((CORPUS / name).iterdir())
    assert kept
    for path in kept:
        TARGETS[name](path.read_bytes())


@pytest.mark.parametrize("name", TARGETS)
@settings(max_examples=80)
@given(st.data())
def test_a_good_input_that_was_damaged_is_read_or_refused(name: str, data: st.DataObject) -> None:
    whole = data.draw(st.sampled_from(good(name)))
    at = data.draw(st.integers(0, len(whole)))
    put = data.draw(st.binary(max_size=16) | st.sampled_from([b"\xff" * 8, b"[" * 3000, b"9" * 400, b"\0"]))
    TARGETS[name](whole[:at] + put + whole[at + data.draw(st.integers(0, 16)) :])
