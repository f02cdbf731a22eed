"""Eyes and mouth: closures, long blinks, PERCLOS and yawns."""

from __future__ import annotations

from collections import deque

from stream.apps.driver.evidence import Observation
from stream.apps.driver.monitors.levels import ALARM, NOTICE, WARNING, Graded, Held, SlidingShare
from stream.apps.driver.settings import DrowsinessSettings
from stream.publish.driver import Baseline, Finding

_GAP_S = 0.05
"""One frame that shows the eyes open is noise, two are the end of a closure."""


class DrowsinessMonitor:
    """Judges eyes against the driver's own open state, and the mouth as it is.

    Who looks down has lids over the eyes: such frames say nothing, unless the eyes were shut before the head sank.

    Args:
        settings: Thresholds.
        unseen_s: Frames further apart than this say nothing of the time between them.
    """

    def __init__(self, settings: DrowsinessSettings, unseen_s: float) -> None:
        self._settings = settings
        self._shut = False
        self._closure = Held(settings.shut_s, (WARNING, ALARM), _GAP_S, settings.shut_clear_s)
        self._share = SlidingShare(settings.window_s, unseen_s)
        self._perclos = Graded(settings.perclos, (NOTICE, WARNING, ALARM), settings.perclos_back)
        self._blinks = _Count(settings.long_blink_s, settings.window_s)
        self._long_blinks = Graded(settings.long_blinks, (NOTICE, WARNING))
        self._yawns = _Count(settings.yawn_s, settings.yawn_window_s)
        self._yawning = Graded(settings.yawns, (NOTICE, WARNING))

    def step(self, seen: Observation, baseline: Baseline, down: bool) -> dict[str, Finding]:
        """The four findings after one observation.

        Args:
            seen: The observation.
            baseline: How far these eyes open.
            down: Whether the head looks down.
        """
        t_ns, shut = seen.t_ns, self._judge(seen, baseline, down)
        self._share.step(t_ns, shut)
        enough = self._share.seen_s >= self._settings.least_seen_s
        mouth = None if seen.mouth is None else seen.mouth > self._settings.yawn_open
        blinks, yawns = self._blinks.step(t_ns, shut), self._yawns.step(t_ns, mouth)
        return {
            "eye_closure": self._closure.step(t_ns, shut),
            "long_blinks": self._long_blinks.step(t_ns, None if shut is None else blinks),
            "perclos": self._perclos.step(t_ns, self._share.held_s / self._share.seen_s if enough else None),
            "yawning": self._yawning.step(t_ns, None if mouth is None else yawns),
        }

    def _judge(self, seen: Observation, baseline: Baseline, down: bool) -> bool | None:
        if seen.eyes is None or not baseline.eyes_open:
            return None
        open_share = seen.eyes / baseline.eyes_open
        limit = self._settings.open_share if self._shut else self._settings.shut_share
        shut = open_share < limit
        if shut and down and not self._shut:
            return None
        self._shut = shut
        return shut


class _Count:
    """How many episodes of some length were within the last while; one that still lasts counts once long enough."""

    def __init__(self, least_s: float, window_s: float) -> None:
        self._least_s, self._window_ns = least_s, int(window_s * 1e9)
        self._held = Held((), (), _GAP_S, 0.0)
        self._counted: int | None = None
        self._times: deque[int] = deque()

    def step(self, t_ns: int, holds: bool | None) -> float:
        self._held.step(t_ns, holds)
        since_ns = self._held.since_ns
        if since_ns is not None and since_ns != self._counted and self._held.seconds >= self._least_s:
            self._counted = since_ns
            self._times.append(t_ns)
        while self._times and self._times[0] <= t_ns - self._window_ns:
            self._times.popleft()
        return float(len(self._times))
