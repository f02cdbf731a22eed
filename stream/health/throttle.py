"""Why there is too little CPU, as far as the system says: a hot processor, a quota; else just load."""

from __future__ import annotations

from pathlib import Path

THERMAL = Path("/sys/class/thermal")
CGROUPS = Path("/sys/fs/cgroup")
OWN_CGROUP = Path("/proc/self/cgroup")
_PROCESSORS = ("processor", "cpufreq", "thermal-cpufreq", "cpu")


class Throttle:
    """Asked while too little gets done.

    Args:
        thermal: Of sysfs: its cooling devices say whether the processor is slowed down.
        cgroups: Where cgroup v2 is mounted.
        own: Says which cgroup this process is in.
    """

    def __init__(self, thermal: Path = THERMAL, cgroups: Path = CGROUPS, own: Path = OWN_CGROUP) -> None:
        self._thermal, self._cgroups, self._own = thermal, cgroups, own
        self._throttled = self._periods()

    def cause(self) -> str:
        """``thermal``, ``quota`` (of a cgroup, since the last call) or ``load``."""
        before, self._throttled = self._throttled, self._periods()
        if self._hot():
            return "thermal"
        return "quota" if self._throttled > before else "load"

    def _hot(self) -> bool:
        for device in self._thermal.glob("cooling_device*"):
            kind = _text(device / "type").strip().lower()
            if kind.startswith(_PROCESSORS) and _text(device / "cur_state").strip() not in ("", "0"):
                return True
        return False

    def _periods(self) -> int:
        """Periods in which this process's group, or one above it, had used up its quota."""
        path = next((line[3:] for line in _text(self._own).splitlines() if line.startswith("0::")), None)
        if path is None:
            return 0
        group, total = self._cgroups / path.strip("/"), 0
        for each in (group, *group.parents):
            words = _text(each / "cpu.stat").split()
            if "nr_throttled" in words:
                total += int(words[words.index("nr_throttled") + 1])
            if each == self._cgroups:
                break
        return total


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii", errors="replace")
    except OSError:
        return ""
