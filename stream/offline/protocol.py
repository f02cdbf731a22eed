"""What ``score`` and its workers say to each other: lines of JSON."""

from __future__ import annotations

from pathlib import Path

import msgspec

from stream.offline.inputs import Item, Problem


class Setup(msgspec.Struct, frozen=True):
    """First line of the orders.

    Attributes:
        settings: Text by key, as flags give them.
        align: Whether crops are aligned by landmarks.
    """

    settings: dict[str, str]
    align: bool


class Order(msgspec.Struct, frozen=True):
    """One item to score.

    Attributes:
        number: Names it in the answers.
        item: What.
        part: File for its rows.
        annotated: Where to write the annotated video, if at all.
        timeline: Where to write the timeline, if at all.
        digest: Whether the answer is to hold what the item's files hash to.
    """

    number: int
    item: Item
    part: str
    annotated: str | None = None
    timeline: str | None = None
    digest: bool = False


class Scored(msgspec.Struct, tag="scored", frozen=True):
    """An item is done: its rows lie in its part file.

    Attributes:
        number: The order's.
        rows: How many.
        problems: What is wrong with its files.
        media_s: Length of video, s.
        sha256: Of the item's files, where it was asked for.
    """

    number: int
    rows: int
    problems: tuple[Problem, ...] = ()
    media_s: float = 0.0
    sha256: str = ""


def lost(order: Order, reason: str) -> Scored:
    """What is said of an item that its workers did not survive."""
    item = order.item
    Path(order.part).write_bytes(b"")
    name = item.path if item.kind == "video" else f"{item.path or item.names[0]} ({len(item.names)} images)"
    return Scored(order.number, 0, (Problem(name, reason),))
