"""What every worker may say besides its results: lines of JSON."""

from __future__ import annotations

import msgspec


class Ready(msgspec.Struct, tag="ready", frozen=True):
    """What it works with is open: which model it is and what runs it; all but the name empty without a model."""

    name: str
    sha256: str = ""
    labels: tuple[str, ...] = ()
    backend: str = ""
    precision: str = ""


class Progressed(msgspec.Struct, tag="progress", frozen=True):
    """A piece of work is under way: which, and what share of it is done, 0 to 1."""

    number: int
    share: float


class Refused(msgspec.Struct, tag="refused", frozen=True):
    """Nothing can be done here: the reason holds the remedy."""

    reason: str
