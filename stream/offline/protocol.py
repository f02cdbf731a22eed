"""What the parent and its workers say to each other: lines of JSON."""

from __future__ import annotations

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
    """

    number: int
    item: Item
    part: str
    annotated: str | None = None
    timeline: str | None = None


class Ready(msgspec.Struct, tag="ready", frozen=True):
    """The model is open: which one it is and what runs it."""

    name: str
    sha256: str
    labels: tuple[str, ...]
    backend: str
    precision: str


class Progressed(msgspec.Struct, tag="progress", frozen=True):
    """An item is under way: which, and what share of it is done, 0 to 1."""

    number: int
    share: float


class Scored(msgspec.Struct, tag="scored", frozen=True):
    """An item is done: its rows lie in its part file."""

    number: int
    rows: int
    problems: tuple[Problem, ...] = ()
    media_s: float = 0.0


class Refused(msgspec.Struct, tag="refused", frozen=True):
    """Nothing can be scored here: the reason holds the remedy."""

    reason: str


Answer = Ready | Progressed | Scored | Refused
