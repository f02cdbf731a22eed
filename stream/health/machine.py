"""What the machine says of itself: temperatures, memory, throttling. Reads files, keeps nothing."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

import psutil

from stream.health.wallclock import unix_error_ns

THERMAL = Path("/sys/class/thermal")
_PLAUSIBLE_C = (-40.0, 150.0)


@dataclass(frozen=True)
class Machine:
    """What the machine says at one moment.

    Attributes:
        t_unix_ns: Wall clock, for reports only.
        temperature_c: By thermal zone, °C; None where it shows none.
        memory_mb: Of this process and its children, MB; None where it cannot be read.
        unix_error_ns: How far `t_unix_ns` may be off; None where the system does not know.
    """

    t_unix_ns: int
    temperature_c: dict[str, float] | None
    memory_mb: float | None
    unix_error_ns: int | None = None

    @classmethod
    def read(cls) -> Machine:
        """Ask the machine; takes a few milliseconds."""
        return cls(time.time_ns(), temperatures_c(), memory_mb(), unix_error_ns())


def temperatures_c(root: Path = THERMAL) -> dict[str, float] | None:
    """Temperature by thermal zone, °C; None where the machine shows none.

    A zone that cannot be read is left out: Jetson's power-gated zones answer with an error, some boards with an
    impossible number.
    """
    found: dict[str, float] = {}
    for zone in sorted(root.glob("thermal_zone*"), key=lambda path: (len(path.name), path.name)):
        try:
            name = (zone / "type").read_text(encoding="ascii", errors="replace").strip()
            celsius = int((zone / "temp").read_text(encoding="ascii")) / 1000
        except (OSError, ValueError):
            continue
        if _PLAUSIBLE_C[0] <= celsius <= _PLAUSIBLE_C[1]:
            found[name if name not in found else f"{name}-{zone.name[len('thermal_zone') :]}"] = celsius
    return found or None


def memory_mb() -> float | None:
    """Memory of this process and its children, MB; None where the system will not say.

    Proportional share where the kernel tells it, so that the capture child's shared-memory slot counts once.
    """
    own = psutil.Process()
    total = 0
    for process in (own, *own.children(recursive=True)):
        try:
            full = process.memory_full_info()
            total += getattr(full, "pss", 0) or full.uss
        except psutil.AccessDenied:
            total += process.memory_info().rss
        except psutil.NoSuchProcess:
            continue
        except OSError:
            return None
    return round(total / 1e6, 1)
