"""The root of every error that is meant for a person."""

from __future__ import annotations


class DferError(Exception):
    """Something that a person can mend. Its text is ``what; remedy``.

    Args:
        what: What happened and where, with the value that was met; one line.
        remedy: What to do about it; empty where `what` leaves no doubt.
    """

    def __init__(self, what: str, remedy: str = "") -> None:
        super().__init__(what, remedy)
        self.what, self.remedy = what, remedy

    def __str__(self) -> str:
        return f"{self.what}; {self.remedy}" if self.remedy else self.what
