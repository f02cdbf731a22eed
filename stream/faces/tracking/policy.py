"""Who is who: the tracks' state and every decision about them, with no net and no image."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from stream.faces.nets.regions import Region
from stream.faces.settings import FaceSettings
from stream.faces.tracking.associate import Place, cost, gate, match
from stream.faces.tracking.motion import SPAN_S, Past, extrapolate

_VELOCITY_S = 0.05  # time constant of the velocity estimate
_DAMPING_S = 0.7  # an unseen face is assumed to slow down with this time constant
_SAME_FACE = 0.45  # two observations of lower cost are one face
_DRIFT = 0.4  # a detection further than this from the landmarks says that they drifted
_JUMP_MARGIN = 0.05
_COAST_HANDICAP = 0.2
_MISSES = 3


@dataclass(frozen=True, eq=False)
class Seen:
    """One face as the landmark net saw it.

    Attributes:
        points: ``(468, 3)`` float32 px.
        points5: ``(5, 2)`` float32 px, the crop's points.
        presence: 0..1.
        place: Centre and size.
        region: Where to look for it in the next frame.
        box: (x, y, width, height), px.
    """

    points: NDArray[np.float32]
    points5: NDArray[np.float32]
    presence: float
    place: Place
    region: Region
    box: tuple[float, float, float, float]


@dataclass(eq=False)
class Track:
    """One followed face. Between :meth:`Tracks.begin` and an observation, place, region and box are predictions.

    Attributes:
        number: Counts up from 1; the id is ``f<number>``.
        place: Centre and size.
        region: Where the landmark net looks.
        box: (x, y, width, height), px.
        score: Score of the last detection that confirmed it.
        seen: The landmark net's observation in this frame.
        vx: Velocity relative to the camera's motion, px/s; likewise ``vy``.
        vy: See ``vx``.
        presence: The landmark net's last answer in this frame.
        born: Index of the frame it was first seen in.
        seen_ns: When its landmarks were last seen.
        observed_ns: When landmarks or a detector last saw it.
        confirmed_ns: When a detector last agreed with it.
        misses: Detections in a row that did not.
        lost_ns: When it was given up; None while active.
        predicted: This frame's prediction, kept to undo an observation.
        past: Earlier observations, in coordinates that move with the camera.
    """

    number: int
    place: Place
    region: Region
    box: tuple[float, float, float, float]
    score: float
    born: int
    seen_ns: int
    observed_ns: int
    confirmed_ns: int
    seen: Seen | None = None
    vx: float = 0.0
    vy: float = 0.0
    presence: float = 0.0
    misses: int = 0
    lost_ns: int | None = None
    predicted: tuple[Place, Region, tuple[float, float, float, float], float, float, int, int] | None = None
    past: deque[Past] = field(default_factory=lambda: deque(maxlen=100))

    @property
    def id(self) -> str:
        """The id that is published."""
        return f"f{self.number}"


class Tracks:
    """All tracks of one source.

    Args:
        settings: Thresholds, times and gates.
    """

    def __init__(self, settings: FaceSettings) -> None:
        self._settings = settings
        self._count = 0
        self.active: list[Track] = []
        self.remembered: list[Track] = []
        self.frame = -1
        self._t_ns: int | None = None
        self._period_s = 0.0
        self._camera_x = self._camera_y = 0.0

    def clear(self) -> list[Track]:
        """Give up every track and forget the remembered ones; ids go on counting.

        Returns:
            The tracks that were active.
        """
        dropped, self.active, self.remembered = self.active, [], []
        self._t_ns = None
        return dropped

    def begin(self, t_ns: int, dx: float = 0.0, dy: float = 0.0) -> None:
        """Start a frame: predict every track.

        Args:
            t_ns: Capture time.
            dx: Camera motion since the last frame, px to the right.
            dy: Likewise, px down.

        Raises:
            ValueError: If time does not increase.
        """
        dt = 0.0
        if self._t_ns is not None:
            dt = (t_ns - self._t_ns) / 1e9
            if dt <= 0:
                raise ValueError(f"frame times must increase: {t_ns} ns after {self._t_ns} ns; reset() before a replay")
            self._period_s = dt if self._period_s == 0 else 0.8 * self._period_s + 0.2 * min(dt, 1.0)
        self._t_ns = t_ns
        self._dt, self._dx, self._dy = dt, dx, dy
        self.frame += 1
        for track in self.active:
            if track.seen is not None:
                self._remember(track, track.seen)
        self._camera_x += dx
        self._camera_y += dy
        for track in [*self.active, *self.remembered]:
            _predict(track, dt, dx, dy)

    def _remember(self, track: Track, seen: Seen) -> None:
        x, y = self._camera_x, self._camera_y
        place = replace(seen.place, x=seen.place.x - x, y=seen.place.y - y)
        track.past.append(Past(track.seen_ns, place, seen.region.shifted(-x, -y)))
        while track.seen_ns - track.past[0].t_ns > SPAN_S * 1e9:
            track.past.popleft()

    @property
    def now_ns(self) -> int:
        """Capture time of the current frame."""
        return self._t_ns or 0

    def observe(self, track: Track, seen: Seen) -> None:
        """Give a track its landmarks of this frame."""
        assert track.predicted is not None
        elapsed = (self.now_ns - track.seen_ns) / 1e9
        if elapsed > 0:
            # track.place is where the face would be at constant velocity: what is missing corrects the velocity.
            before = track.predicted[0]
            blend = 1 - math.exp(-elapsed / _VELOCITY_S)
            track.vx += blend * (seen.place.x - before.x) / elapsed
            track.vy += blend * (seen.place.y - before.y) / elapsed
        track.place, track.region, track.box = seen.place, seen.region, seen.box
        track.seen, track.presence = seen, seen.presence
        track.seen_ns = track.observed_ns = self.now_ns

    def unsee(self, track: Track) -> None:
        """Take this frame's landmarks from a track: they belong to another face."""
        assert track.predicted is not None
        track.place, track.region, track.box, track.vx, track.vy, track.seen_ns, track.observed_ns = track.predicted
        track.seen = None

    def confirm(self, track: Track, score: float) -> None:
        """A detector agrees with a track."""
        track.score, track.confirmed_ns, track.misses = score, self.now_ns, 0

    def observe_detection(
        self, track: Track, place: Place, region: Region, box: tuple[float, float, float, float]
    ) -> None:
        """A detector sees a face whose landmarks cannot be read (a profile): it stays alive, coasting."""
        track.place, track.region, track.box = place, region, box
        track.observed_ns = self.now_ns

    def resolve_duplicates(self) -> None:
        """Where two tracks follow one face, the one that jumped further to it gives it up and coasts."""
        seen = [t for t in self.active if t.seen is not None]
        for i, older in enumerate(seen):
            for younger in seen[i + 1 :]:
                if older.seen is None or younger.seen is None:
                    continue
                if cost(older.place, younger.place) >= _SAME_FACE:
                    continue
                extra = self._jump(younger) - self._jump(older)
                self.unsee(older if extra < -_JUMP_MARGIN else younger)

    def _jump(self, track: Track) -> float:
        assert track.predicted is not None
        was_coasting = self.now_ns - track.predicted[5] > 1.5e9 * self._dt
        return cost(track.predicted[0], track.place) + (_COAST_HANDICAP if was_coasting else 0.0)

    def detection_due(self, last_ns: int | None) -> bool:
        """Whether this frame needs a detector.

        Args:
            last_ns: When one last ran; None if never.
        """
        if last_ns is None or not self.active:
            return True
        since = (self.now_ns - last_ns) / 1e9
        unseen = [t for t in self.active if t.seen is None]
        # A face that was seen one frame ago: find it at once.
        if any(t.seen_ns == self.now_ns - round(self._dt * 1e9) for t in unseen):
            return True
        # Half a period of slack, so that jitter of the camera does not double the interval.
        wait = self._settings.recheck_every_s if unseen else self._settings.detect_every_s
        return since >= wait - self._period_s / 2

    def match_active(self, places: Sequence[Place]) -> list[tuple[Track, int]]:
        """Assign detections to active tracks."""
        pairs = match([t.place for t in self.active], [self._gate(t) for t in self.active], places)
        return [(self.active[i], j) for i, j in pairs]

    def match_remembered(self, places: Sequence[Place]) -> list[tuple[Track, int]]:
        """Assign faces that no active track explains to those given up a moment ago."""
        pairs = match([t.place for t in self.remembered], [self._gate(t) for t in self.remembered], places)
        return [(self.remembered[i], j) for i, j in pairs]

    def _gate(self, track: Track) -> float:
        return gate(self._settings, (self.now_ns - track.observed_ns) / 1e9)

    def drifted(self, track: Track, place: Place) -> bool:
        """Whether a detection says that a track's landmarks are not on its face."""
        return cost(track.place, place) > _DRIFT

    def is_followed(self, place: Place) -> bool:
        """Whether an active track already sees the face at this place."""
        return any(t.seen is not None and cost(t.place, place) < _SAME_FACE for t in self.active)

    def revive(self, track: Track, seen: Seen, score: float) -> None:
        """Give a remembered face its id back."""
        self.remembered.remove(track)
        track.lost_ns = None
        self.active.append(track)
        self.active.sort(key=lambda t: t.number)
        self.observe(track, seen)
        self.confirm(track, score)

    def start(self, seen: Seen, score: float) -> Track:
        """Start a new face under the next id."""
        self._count += 1
        now = self.now_ns
        track = Track(
            self._count,
            seen.place,
            seen.region,
            seen.box,
            score,
            self.frame,
            now,
            now,
            now,
            seen,
            presence=seen.presence,
        )
        self.active.append(track)
        return track

    def unconfirmed(self, track: Track) -> bool:
        """Whether a followed face should be checked by a detector that looks at it alone."""
        return (self.now_ns - track.confirmed_ns) / 1e9 > self._settings.confirm_within_s / 3

    def miss(self, track: Track) -> None:
        """A detector that looked at a face did not see it; too long so, and what is followed is no face."""
        track.misses += 1
        late = (self.now_ns - track.confirmed_ns) / 1e9 > self._settings.confirm_within_s
        if late and track.misses >= _MISSES and track.seen is not None:
            self.unsee(track)
            track.observed_ns = track.seen_ns = track.confirmed_ns

    def end(self) -> list[Track]:
        """End a frame: give up faces unseen for too long, forget those remembered for too long.

        Returns:
            The tracks given up in this frame.
        """
        coast_ns = max(self._settings.coast_s, 2.5 * self._period_s) * 1e9
        for track in self.active:
            if track.observed_ns != self.now_ns and track.past:
                self._place_hidden(track)
        lost = [t for t in self.active if self.now_ns - t.observed_ns > coast_ns]
        self.active = [t for t in self.active if self.now_ns - t.observed_ns <= coast_ns]
        for track in lost:
            track.lost_ns = self.now_ns
        memory_ns = self._settings.memory_s * 1e9
        self.remembered = [
            t for t in [*self.remembered, *lost] if t.lost_ns is not None and self.now_ns - t.lost_ns <= memory_ns
        ]
        return lost

    def _place_hidden(self, track: Track) -> None:
        """On the first frame without a face, go back to the line that it followed before it was covered."""
        found = extrapolate(list(track.past), self.now_ns)
        track.past.clear()
        if found is None:
            return
        past, track.vx, track.vy = found
        x, y = past.place.x + self._camera_x, past.place.y + self._camera_y
        left, top, width, height = track.box
        track.box = (left + x - track.place.x, top + y - track.place.y, width, height)
        track.place = replace(past.place, x=x, y=y)
        track.region = past.region.shifted(self._camera_x, self._camera_y)


def _predict(track: Track, dt: float, dx: float, dy: float) -> None:
    unseen = track.seen is None
    # Over a gap the velocity decays; integrated over dt it moves the face by this much.
    travel = _DAMPING_S * (1 - math.exp(-dt / _DAMPING_S)) if unseen else min(dt, 0.5)
    mx, my = dx + track.vx * travel, dy + track.vy * travel
    if unseen:
        decay = math.exp(-dt / _DAMPING_S)
        track.vx, track.vy = track.vx * decay, track.vy * decay
    track.place = replace(track.place, x=track.place.x + mx, y=track.place.y + my)
    track.region = track.region.shifted(mx, my)
    x, y, width, height = track.box
    track.box = (x + mx, y + my, width, height)
    track.seen, track.presence = None, 0.0
    track.predicted = (
        track.place, track.region, track.box, track.vx, track.vy, track.seen_ns, track.observed_ns
    )  # fmt: skip
