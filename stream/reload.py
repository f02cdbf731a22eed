"""Settings read anew while the daemon runs: what can change, changes; what cannot is named. No face loses its track."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from engine.errors import DferError
from engine.settings import values_of
from stream.config import Settings
from stream.daemon import Daemon
from stream.show.sinks import JpegFrames

_FACES_FIXED = frozenset({"max_faces", "cut_similarity"})
"""The ring has so many slots; the cut detector remembers how alike frames were to its threshold."""
_PUBLISH_LIVE = frozenset({"status_hz", "frames_hz", "frames_width"})


@dataclass(frozen=True)
class Target:
    """What takes the settings of one source.

    Attributes:
        daemon: Of the source.
        pictures: Its pictures, where they are published.
    """

    daemon: Daemon
    pictures: JpegFrames | None = None

    def change(self, settings: Settings) -> None:
        """Go on with these, which differ from those before in what :func:`plan` lets change."""
        self.daemon.change(settings)
        if self.pictures is not None:
            self.pictures.change(settings.publish.frames_width, settings.publish.frames_hz)


@dataclass(frozen=True)
class Plan:
    """What a reload does.

    Attributes:
        settings: Those that are in force after it.
        changed: Keys that change.
        fixed: Keys that would, but need a restart.
    """

    settings: Settings
    changed: tuple[str, ...]
    fixed: tuple[str, ...]


def plan(current: Settings, wanted: Settings) -> Plan:
    """Which of the wanted settings can be had without a restart.

    Args:
        current: In force.
        wanted: As read anew.
    """
    faces = {name: getattr(current.faces, name) for name in sorted(_FACES_FIXED)}
    publish = {name: getattr(wanted.publish, name) for name in sorted(_PUBLISH_LIVE)}
    settings = replace(
        current,
        source=replace(current.source, roi=wanted.source.roi),
        sources={name: _with_region(given, wanted.sources.get(name)) for name, given in current.sources.items()},
        faces=replace(wanted.faces, **dict[str, Any](faces)),
        scores=wanted.scores,
        publish=replace(current.publish, **dict[str, Any](publish)),
    )
    return Plan(settings, _differing(current, settings), _differing(settings, wanted))


class Reloader:
    """Reads the settings anew when asked, and hands them on.

    Args:
        current: In force.
        load: Reads them.
        targets: One for each source, in order.
        log: Takes an event and its values, for people.
    """

    def __init__(
        self, current: Settings, load: Callable[[], Settings], targets: Sequence[Target], log: Callable[..., None]
    ) -> None:
        self.current = current
        self._load, self._targets, self._log = load, targets, log

    def reload(self) -> None:
        """Take over what can be; with a file that cannot be used everything stays as it is. One line says which."""
        try:
            plan_ = plan(self.current, self._load())
        except DferError as error:
            self._log("reload_refused", error=str(error), settings="as before")
            return
        self.current = plan_.settings
        for target, settings in zip(self._targets, plan_.settings.each_source(), strict=True):
            target.change(settings)
        self._log("reloaded", changed=", ".join(plan_.changed) or "nothing", restart=", ".join(plan_.fixed) or None)


def _with_region(given: Any, wanted: Any) -> Any:
    """A source as it is, with the region that is wanted of it."""
    table = dict(given) if isinstance(given, Mapping) else {"uri": given}
    table.pop("roi", None)
    if isinstance(wanted, Mapping) and "roi" in wanted:
        table["roi"] = wanted["roi"]
    return table if len(table) > 1 else table["uri"]


def _differing(one: Settings, other: Settings) -> tuple[str, ...]:
    a, b = _flat(one), _flat(other)
    return tuple(key for key in dict.fromkeys([*a, *b]) if a.get(key) != b.get(key))


def _flat(settings: Settings) -> dict[str, Any]:
    values = values_of(settings)
    for name, given in values.pop("sources").items():
        table = given if isinstance(given, Mapping) else {"uri": given}
        values |= {f"sources.{name}.{key}": value for key, value in table.items()}
    return values
