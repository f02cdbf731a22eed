"""A negative expression that stays: a notice at most."""

from __future__ import annotations

from stream.apps.driver.evidence import Observation
from stream.apps.driver.monitors.levels import NOTICE, Held
from stream.apps.driver.settings import AffectSettings
from stream.publish.driver import Baseline, Finding

_CLEAR_S = 5.0


class AffectMonitor:
    """Judges the scores against the driver's calm face.

    Args:
        settings: Shares and times.
    """

    def __init__(self, settings: AffectSettings) -> None:
        self._settings = settings
        self._held = Held((settings.seconds,), (NOTICE,), settings.gap_s, _CLEAR_S)

    def step(self, seen: Observation, baseline: Baseline) -> dict[str, Finding]:
        """``negative_affect`` after one observation."""
        holds = None
        if seen.negative is not None:
            calm = baseline.negative or 0.0
            holds = seen.negative >= max(self._settings.share, calm + self._settings.above_baseline)
        return {"negative_affect": self._held.step(seen.t_ns, holds)}
