"""Text of whatever origin, made safe for logs and terminals: the one place where it is.

File names, camera notes, model names and messages of other publishers may hold escape sequences, line breaks and
marks that turn the reading direction. Whoever prints such text passes it through here.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any, TextIO


def printable(text: str) -> str:
    r"""The text in one line of characters that show as themselves; others as Python writes them: ``\x1b``."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)


def printable_json(body: bytes) -> str:
    r"""A JSON document in one line of printable characters, with the same values: others are escaped as ``\u0085``."""
    text = body.decode("utf-8", "replace")
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else " " if c in "\t\n\r" else _json_escape(c) for c in text)


def printable_values(value: Any) -> Any:
    """A decoded JSON value whose every text, names included, is :func:`printable`."""
    if isinstance(value, str):
        return printable(value)
    if isinstance(value, Mapping):
        return {printable_values(name): printable_values(held) for name, held in value.items()}
    return [printable_values(item) for item in value] if isinstance(value, list) else value


def say(line: str, out: TextIO | None = None) -> None:
    """Print one line for people, printable whatever is in it.

    Args:
        line: What to say.
        out: Where to; standard error if not given.
    """
    print(printable(line), file=out or sys.stderr, flush=True)


def _json_escape(character: str) -> str:
    units = character.encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[k]:02x}{units[k + 1]:02x}" for k in range(0, len(units), 2))
