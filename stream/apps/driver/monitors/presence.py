"""Whether there is a driver, in the right seat, and seen well enough."""

from __future__ import annotations

from stream.apps.driver.evidence import Observation
from stream.apps.driver.monitors.levels import ALARM, NOTICE, WARNING, Held
from stream.apps.driver.settings import SeatSettings
from stream.publish.driver import Finding

_GAP_S = 0.5
_CLEAR_S = 1.0


class PresenceMonitor:
    """Judges where faces are.

    Args:
        settings: Times.
    """

    def __init__(self, settings: SeatSettings) -> None:
        self._absence = Held(settings.absent_s, (NOTICE, WARNING, ALARM), _GAP_S, _CLEAR_S)
        self._wrong_seat = Held(settings.wrong_seat_s, (NOTICE, WARNING), _GAP_S, _CLEAR_S)
        self._occlusion = Held(settings.occluded_s, (NOTICE, WARNING), _GAP_S, _CLEAR_S)

    def step(self, seen: Observation, head_seen: bool, eyes_seen: bool) -> dict[str, Finding]:
        """The three findings after one observation.

        Args:
            seen: The observation.
            head_seen: Whether the head was seen a moment ago.
            eyes_seen: Whether the eyes were.
        """
        occluded = None
        if seen.face is not None:
            occluded = seen.face.reason == "occluded" or not head_seen or not eyes_seen
        return {
            "absence": self._absence.step(seen.t_ns, seen.face is None and not seen.elsewhere),
            "wrong_seat": self._wrong_seat.step(seen.t_ns, seen.elsewhere),
            "occlusion": self._occlusion.step(seen.t_ns, occluded),
        }
