"""When a source is ok, lost, stalled, frozen or to be started again. Pure: events and times in."""

from __future__ import annotations

from dataclasses import dataclass, field

from stream.camera.capture.frozen import FrozenDetector
from stream.camera.capture.slot import IDLE_FOR_EVER
from stream.camera.settings import CameraSettings

STATES = ("ok", "no_camera", "stalled", "frozen", "ended")
_MS = 1_000_000
_STALL_PERIODS = 2.5
_PREDICTED = 10
"""How much longer frames may be equal where an encoder says "as before" of a still scene."""


@dataclass
class Backoff:
    """Pauses that double from ``min_ns`` to ``max_ns`` until something works."""

    min_ns: int
    max_ns: int
    _next_ns: int = 0

    def fail(self) -> int:
        """Give the pause after one more failure, ns."""
        pause = max(self.min_ns, self._next_ns)
        self._next_ns = min(self.max_ns, 2 * pause)
        return min(self.max_ns, pause)

    def reset(self) -> None:
        """Start over after a success."""
        self._next_ns = 0


@dataclass(frozen=True)
class WatchStatus:
    """How a camera is, and what to do about it.

    Attributes:
        state: One of ``STATES``.
        restart: Whether the capture process hangs and has to be killed.
        check_again_ns: CLOCK_MONOTONIC ns at which the status may change without any event.
    """

    state: str
    restart: bool
    check_again_ns: int


@dataclass
class Watch:
    """Follows one camera; all times CLOCK_MONOTONIC ns.

    Attributes:
        settings: The camera's settings.
        can_freeze: Whether equal frames mean a fault (``SourceUri.can_freeze``).
        state: The state after the last event.
    """

    settings: CameraSettings
    can_freeze: bool
    state: str = "no_camera"
    _phase: str = "opening"
    _since_ns: int = 0
    _period_ns: float = 0.0
    _last: tuple[int, int] | None = None
    _frozen_since_ns: int = 0
    _frozen_restarts: int = 0
    _frozen: FrozenDetector = field(init=False)

    def __post_init__(self) -> None:
        self._frozen = FrozenDetector(self.settings.frozen_ms * _MS if self.can_freeze else 0)

    @property
    def stall_ns(self) -> int:
        """Silence after which a source is stalled: ``max(stall_ms, 2.5 frame periods)``."""
        return max(self.settings.stall_ms * _MS, round(_STALL_PERIODS * self._period_ns))

    def opening(self, now_ns: int) -> None:
        """A capture process was started, or began to open the source again."""
        self._phase, self._since_ns = "opening", now_ns
        self._last = None

    def opened(self, now_ns: int, fps: float, predicted: bool = False) -> None:
        """The source is open; ``fps`` is what it declares, 0 where unknown, ``predicted`` see ``driver.Opened``."""
        self._frozen.frozen_ns = self.settings.frozen_ms * _MS * (_PREDICTED if predicted else 1) * self.can_freeze
        self._phase, self._since_ns = "open", now_ns
        self._period_ns = 1e9 / fps if 1 <= fps <= 1000 else 0.0
        if self.state == "frozen":
            # Still the same picture after opening again: look less and less often, it may be a test card.
            self._frozen_since_ns, self._frozen_restarts = now_ns, min(4, self._frozen_restarts + 1)

    def lost(self, now_ns: int) -> None:
        """The source went away, or would not open."""
        self._phase, self._since_ns, self.state = "lost", now_ns, "no_camera"
        self._last = None

    def ended(self) -> None:
        """The last frame was delivered."""
        self._phase = self.state = "ended"

    def frame(self, seq: int, t_capture_ns: int, t_arrival_ns: int, digest: int) -> None:
        """A frame is delivered."""
        if self._last is not None and t_capture_ns > self._last[1]:
            period = (t_capture_ns - self._last[1]) / max(1, seq - self._last[0])
            self._period_ns = period if not self._period_ns else 0.8 * self._period_ns + 0.2 * period
        self._last = (seq, t_capture_ns)
        if self._phase == "lost" and t_arrival_ns <= self._since_ns:
            # Taken after the news that the source was lost, but captured before: it does not bring it back.
            return
        if self.can_freeze and self._frozen.step(digest, t_arrival_ns):
            if self.state != "frozen":
                self._frozen_since_ns = t_arrival_ns
            self.state = "frozen"
        else:
            self.state, self._frozen_restarts = "ok", 0

    def check(self, now_ns: int, arrival_ns: int, idle_until_ns: int) -> WatchStatus:
        """Tell whether the silence is a fault.

        Args:
            now_ns: Now.
            arrival_ns: Arrival of the newest frame captured, whether delivered or not.
            idle_until_ns: The source waits on purpose until then.
        """
        cfg = self.settings
        if self._phase == "ended" or idle_until_ns == IDLE_FOR_EVER:
            return WatchStatus(self.state, False, IDLE_FOR_EVER)
        if self._phase in ("opening", "lost"):
            # The driver has its own limits; one that keeps them says "lost" by itself a little earlier.
            limit_ns = self._since_ns + (cfg.open_timeout_ms + cfg.backoff_max_ms + 500) * _MS
            return WatchStatus(self.state, now_ns >= limit_ns, limit_ns)
        heard_ns = max(arrival_ns, self._since_ns, idle_until_ns)
        first = arrival_ns < self._since_ns
        stall_at = heard_ns + self.stall_ns
        restart_at = heard_ns + (cfg.open_timeout_ms * _MS if first else max(cfg.restart_ms * _MS, 2 * self.stall_ns))
        if self.state == "frozen":
            # OpenCV may repeat its last frame for ever after an unplug: only opening again tells.
            restart_at = min(restart_at, self._frozen_since_ns + (cfg.restart_ms << self._frozen_restarts) * _MS)
        elif not first and now_ns >= stall_at:
            self.state = "stalled"
        waiting_for = [t for t in (stall_at, restart_at) if t > now_ns]
        return WatchStatus(self.state, now_ns >= restart_at, min(waiting_for, default=now_ns + 100 * _MS))
