"""A driver message in words."""

from __future__ import annotations

from engine.text import printable
from stream.publish.driver import DriverState


def describe(state: DriverState, before: DriverState | None) -> str:
    """One line for people where something changed since `before`, else nothing."""
    told = _told(state)
    if before is not None and told == _told(before):
        return ""
    return printable("  ".join(word for word in (state.source, *told) if word))


def _told(state: DriverState) -> tuple[str, ...]:
    levels = [f"{name} {finding.level}" for name, finding in state.findings.items() if finding.level != "none"]
    why = "" if state.reason in ("ok", state.state) else f"({state.reason.replace('_', ' ')})"
    return (state.state, why, *levels)
