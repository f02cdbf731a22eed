from __future__ import annotations

import io
import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from engine.text import printable, printable_json, printable_values, say

ODD = "a\x1b[31m\nb\r\t\x85\u202ec\udce9\U000e0001\\é"


@given(st.text(st.characters()))
def test_whatever_it_was_it_is_one_line_that_shows_as_it_is(text: str) -> None:
    assert printable(text).isprintable()
    if text.isprintable():
        assert printable(text) == text


def test_what_does_not_show_is_escaped() -> None:
    assert printable(ODD) == r"a\x1b[31m\nb\r\t\x85\u202ec\udce9\U000e0001" + "\\é"


json_values: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(json_values)
def test_json_keeps_its_values(value: Any) -> None:
    for indent in (None, 2):
        shown = printable_json(json.dumps(value, ensure_ascii=False, indent=indent).encode())
        assert shown.isprintable()
        assert json.loads(shown) == value


def test_names_and_values_of_a_message_are_made_printable() -> None:
    assert printable_values({"a\n": ["b\x1b", {"c": 1.5, "d": None}]}) == {r"a\n": [r"b\x1b", {"c": 1.5, "d": None}]}


def test_a_line_is_said_as_one() -> None:
    out = io.StringIO()
    say("a\nb", out)
    assert out.getvalue() == "a\\nb\n"
