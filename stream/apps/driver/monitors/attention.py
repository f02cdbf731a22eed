"""The head away from the road: long glances, and short ones that add up."""

from __future__ import annotations

from stream.apps.driver.evidence import Observation
from stream.apps.driver.monitors.levels import ALARM, NOTICE, WARNING, Graded, Held, SlidingShare
from stream.apps.driver.settings import AttentionSettings
from stream.publish.driver import Baseline, Finding

_LEVELS = (NOTICE, WARNING, ALARM)


class AttentionMonitor:
    """Judges the head's direction against the driver's own.

    Args:
        settings: Angles and times.
        unseen_s: Frames further apart than this say nothing of the time between them.
    """

    def __init__(self, settings: AttentionSettings, unseen_s: float) -> None:
        self._settings = settings
        self._held = Held(settings.away_s, _LEVELS, settings.gap_s, settings.clear_s)
        self._share = SlidingShare(settings.shared_window_s, unseen_s)
        self._graded = Graded(settings.shared_s, _LEVELS, settings.back_share)
        self._away = False

    def step(self, seen: Observation, baseline: Baseline) -> dict[str, Finding]:
        """``distraction`` and ``time_sharing`` after one observation."""
        away = self._judge(seen, baseline)
        self._share.step(seen.t_ns, away)
        value = None if away is None and not self._share.seen_s else self._share.held_s
        return {
            "distraction": self._held.step(seen.t_ns, away),
            "time_sharing": self._graded.step(seen.t_ns, value),
        }

    def _judge(self, seen: Observation, baseline: Baseline) -> bool | None:
        if seen.yaw is None or seen.pitch is None or baseline.yaw is None or baseline.pitch is None:
            return None
        limits = self._settings
        share = limits.back_share if self._away else 1.0
        up = seen.pitch - baseline.pitch
        self._away = (
            abs(seen.yaw - baseline.yaw) > limits.yaw_deg * share
            or up > limits.up_deg * share
            or -up > limits.down_deg * share
        )
        return self._away


def looks_down(seen: Observation, baseline: Baseline, settings: AttentionSettings) -> bool:
    """Whether the head is so far down that lids cover the eyes of someone wide awake."""
    if seen.pitch is None or baseline.pitch is None:
        return False
    return baseline.pitch - seen.pitch > settings.down_deg * settings.back_share
