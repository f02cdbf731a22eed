"""A broken rule, with the node that breaks it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Finding:
    """One place where a graph breaks a rule.

    Attributes:
        rule: The rule's name.
        node: Name and operator of the node, or the tensor.
        message: What is wrong and what it should be.
    """

    rule: str
    node: str
    message: str

    def __str__(self) -> str:
        """One line for people."""
        return f"{self.rule}: {self.node}: {self.message}"
