"""Shared types of command-line arguments: what they take, and what they say to the rest."""

from __future__ import annotations

import argparse

import pytest

from engine.settings.arguments import count, seconds


@pytest.mark.parametrize("text", ["0", "-1", "1.5", "²", "", "many", "nan"])
def test_a_count_is_a_whole_number_from_one(text: str) -> None:
    assert count()("12") == 12
    with pytest.raises(argparse.ArgumentTypeError, match=r"whole number of at least 1, not "):
        count()(text)


def test_a_count_has_its_limit() -> None:
    assert count(64)("64") == 64
    with pytest.raises(argparse.ArgumentTypeError, match="of 1 to 64, not '65'"):
        count(64)("65")


@pytest.mark.parametrize("text", ["0", "-2", "inf", "nan", "soon", "1e12"])
def test_seconds_are_above_zero_and_end(text: str) -> None:
    assert seconds("0.5") == 0.5
    with pytest.raises(argparse.ArgumentTypeError, match="number of seconds above 0"):
        seconds(text)
