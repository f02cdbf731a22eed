"""Who is who: every decision about the tracks of a source, with no net and no image."""

from __future__ import annotations

import cmath
import math
from collections.abc import Sequence
from dataclasses import replace

from stream.faces.nets.regions import Region
from stream.faces.result import Box
from stream.faces.settings import FaceSettings
from stream.faces.tracking.associate import Place, cost, gate, match
from stream.faces.tracking.motion import MotionState
from stream.faces.tracking.template import Alignment
from stream.faces.tracking.track import Observation, Track

_SAME_FACE = 0.45
"""Two observations of lower cost are one face."""
_DRIFT = 0.4
"""A detection that costs more than this from the landmarks says that they drifted."""
_JUMP_MARGIN = 0.05
"""Of two tracks on one face the older keeps it, unless it jumped further by this cost."""
_COAST_HANDICAP = 0.2
"""Cost added to the jump of a face that was coasting."""
_MISSES = 3
"""Detections in a row that must not see a face before it is none."""

_AT_REST = 0.5
"""Face widths per second up to which nothing happens that a detector need see: two faces that cross move faster."""

_RESIDUAL, _WORST = 0.16, 0.28
"""Largest residuals, of all and of the worst block, at which a face's motion explains what it looks like now. Noise of
2 grey levels gives 0.1 and 0.2, a blink or a smile 0.3 and more of its block (scenes and clips, 2026-11-28)."""
_GROWTH, _TURN_RAD = 0.12, 0.17
"""How far a face may grow and turn until the landmark net looks again."""


class Tracks:
    """All tracks of one source.

    Args:
        settings: Thresholds, times and gates.

    Attributes:
        active: Faces that are followed, oldest first.
        remembered: Faces given up a moment ago, whose ids can still come back.
        frame: Index of the current frame.
    """

    def __init__(self, settings: FaceSettings) -> None:
        self._settings = settings
        self._count = 0
        self.active: list[Track] = []
        self.remembered: list[Track] = []
        self.frame = -1
        self._t_ns: int | None = None
        self._dt = self._period_s = 0.0
        self._camera_x = self._camera_y = 0.0
        self._before_cut: tuple[list[Track], list[Track], int | None] | None = None

    def change(self, settings: FaceSettings) -> None:
        """Go on with other settings."""
        self._settings = settings

    def cut(self) -> list[Track]:
        """Give up every track as :meth:`clear` does, until :meth:`revoke_cut`.

        Returns:
            The tracks that were active.
        """
        before = self.active, self.remembered, self._t_ns
        dropped = self.clear()
        self._before_cut = before
        return dropped

    @property
    def cut_can_be_revoked(self) -> bool:
        """Whether the tracks were given up by :meth:`cut` last."""
        return self._before_cut is not None

    def revoke_cut(self) -> list[Track]:
        """Go on with the tracks before the cut, from the time of their last frame.

        Returns:
            The tracks that began since.
        """
        assert self._before_cut is not None
        dropped = self.active
        self.active, self.remembered, self._t_ns = self._before_cut
        self._before_cut = None
        return dropped

    def clear(self) -> list[Track]:
        """Give up every track and forget the remembered ones; ids go on counting.

        Returns:
            The tracks that were active.
        """
        dropped, self.active, self.remembered = self.active, [], []
        self._t_ns = self._before_cut = None
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
        self._t_ns, self._dt = t_ns, dt
        self.frame += 1
        for track in self.active:
            track.remember(self._camera_x, self._camera_y)
        self._camera_x += dx
        self._camera_y += dy
        for track in [*self.active, *self.remembered]:
            track.predict(dt, dx, dy)

    @property
    def now_ns(self) -> int:
        """Capture time of the current frame."""
        return self._t_ns or 0

    def looks_due(self) -> list[Track]:
        """The faces that the landmark net must look at in this frame; the others are moved on.

        A face is due where its alignment does not explain the picture. The others fall due by time, in turns: the
        largest first, as many as keep the pace, and none later than twice the time.
        """
        every_ns = self._settings.landmarks_every_s * 1e9
        due: list[Track] = []
        aged: list[Track] = []
        for track in self.active:
            if track.look is None or track.alignment is None or not _explains(track.alignment):
                due.append(track)
                continue
            age_ns = self.now_ns - track.look.t_ns
            if age_ns >= 2 * every_ns:
                due.append(track)
            elif age_ns >= every_ns - self._period_s * 5e8:
                aged.append(track)
        if aged:
            room = math.ceil(len(self.active) * self._period_s * 1e9 / max(every_ns, 1)) - len(due)
            due += sorted(aged, key=lambda track: -track.place.size)[: max(room, 0)]
        return due

    def move_on(self, track: Track) -> None:
        """Take the landmarks of a face's last look, moved as the face was."""
        assert track.look is not None
        assert track.alignment is not None
        self.observe(track, track.look.observation.moved(track.alignment))

    def observe(self, track: Track, observation: Observation) -> None:
        """Give a track its landmarks of this frame."""
        track.observe(observation, self.now_ns)

    def confirm(self, track: Track, score: float) -> None:
        """A detector agrees with a track."""
        track.score, track.confirmed_ns, track.misses = score, self.now_ns, 0

    def observe_detection(self, track: Track, place: Place, region: Region, box: Box) -> None:
        """A detector sees a face whose landmarks cannot be read (a profile): it stays alive, coasting."""
        track.motion = replace(track.motion, place=place, region=region, box=box, observed_ns=self.now_ns)

    def resolve_duplicates(self) -> None:
        """Where two tracks follow one face, the one that jumped further to it gives it up and coasts."""
        seen = [t for t in self.active if t.observation is not None]
        for i, older in enumerate(seen):
            for younger in seen[i + 1 :]:
                if older.observation is None or younger.observation is None:
                    continue
                if cost(older.place, younger.place) >= _SAME_FACE:
                    continue
                extra = self._jump(younger) - self._jump(older)
                (older if extra < -_JUMP_MARGIN else younger).discard_observation()

    def _jump(self, track: Track) -> float:
        was_coasting = self.now_ns - track.predicted.seen_ns > 1.5e9 * self._dt
        return cost(track.predicted.place, track.place) + (_COAST_HANDICAP if was_coasting else 0.0)

    def detection_due(self, last_ns: int | None, moved: bool = True, closely: bool = True) -> bool:
        """Whether this frame needs a detector.

        Args:
            last_ns: When one last ran; None if never.
            moved: Whether anything in the picture beside the known faces moved since then; else nobody came.
            closely: Whether an empty picture in which something moves is worth a closer watch.
        """
        if last_ns is None:
            return True
        since = (self.now_ns - last_ns) / 1e9
        unseen = [t for t in self.active if t.observation is None]
        # A face that was seen one frame ago: find it at once.
        if any(t.motion.seen_ns == self.now_ns - round(self._dt * 1e9) for t in unseen):
            return True
        # Half a period of slack, so that jitter of the camera does not double the interval.
        soon = bool(unseen) or (moved and closely and not self.active)
        still = not moved and all(t.motion.speed < _AT_REST for t in self.active)
        wait = self._settings.recheck_every_s if soon else self._settings.detect_every_s * (2 if still else 1)
        return since >= wait - self._period_s / 2

    def match_active(self, places: Sequence[Place]) -> dict[int, Track]:
        """Assign detections to active tracks: the track of each index of ``places`` that has one, oldest first."""
        return self._match(self.active, places)

    def match_remembered(self, places: Sequence[Place]) -> dict[int, Track]:
        """Assign faces that no active track explains to those given up a moment ago, likewise."""
        return self._match(self.remembered, places)

    def _match(self, tracks: list[Track], places: Sequence[Place]) -> dict[int, Track]:
        gates = [gate(self._settings, (self.now_ns - t.motion.observed_ns) / 1e9) for t in tracks]
        matched = match([t.place for t in tracks], gates, places)
        return {index: tracks[face] for face, index in matched.items()}

    def drifted(self, track: Track, place: Place) -> bool:
        """Whether a detection says that a track's landmarks are not on its face."""
        return cost(track.place, place) > _DRIFT

    def is_followed(self, place: Place) -> bool:
        """Whether an active track already sees the face at this place."""
        return any(t.observation is not None and cost(t.place, place) < _SAME_FACE for t in self.active)

    def reactivate(self, track: Track, observation: Observation, score: float) -> None:
        """Give a remembered face its id back."""
        self.remembered.remove(track)
        track.lost_ns = None
        self.active.append(track)
        self.active.sort(key=lambda t: t.number)
        self.observe(track, observation)
        self.confirm(track, score)

    def start(self, observation: Observation, score: float) -> Track:
        """Start a new face under the next id."""
        self._count += 1
        now = self.now_ns
        motion = MotionState(observation.place, observation.region, observation.box, now, now)
        track = Track(self._count, self.frame, motion, motion, score, now, observation, presence=observation.presence)
        self.active.append(track)
        return track

    def unconfirmed(self, track: Track) -> bool:
        """Whether a followed face should be checked by a detector that looks at it alone."""
        return (self.now_ns - track.confirmed_ns) / 1e9 > self._settings.confirm_within_s / 3

    def miss(self, track: Track) -> None:
        """A detector that looked at a face did not see it; too long so, and what is followed is no face."""
        track.misses += 1
        late = (self.now_ns - track.confirmed_ns) / 1e9 > self._settings.confirm_within_s
        if late and track.misses >= _MISSES and track.observation is not None:
            track.discard_observation()
            track.motion = replace(track.motion, seen_ns=track.confirmed_ns, observed_ns=track.confirmed_ns)

    def end(self) -> list[Track]:
        """End a frame: give up faces unseen for too long, forget those remembered for too long.

        Returns:
            The tracks given up in this frame.
        """
        coast_ns = max(self._settings.coast_s, 2.5 * self._period_s) * 1e9
        for track in self.active:
            if track.motion.observed_ns != self.now_ns and track.trajectory:
                track.hide(self.now_ns, self._camera_x, self._camera_y)
        lost = [t for t in self.active if self.now_ns - t.motion.observed_ns > coast_ns]
        self.active = [t for t in self.active if self.now_ns - t.motion.observed_ns <= coast_ns]
        for track in lost:
            track.lost_ns = self.now_ns
        memory_ns = self._settings.memory_s * 1e9
        self.remembered = [
            t for t in [*self.remembered, *lost] if t.lost_ns is not None and self.now_ns - t.lost_ns <= memory_ns
        ]
        return lost


def _explains(found: Alignment) -> bool:
    """Whether a face's motion since its last look explains what it looks like now."""
    alike = found.residual <= _RESIDUAL and found.worst <= _WORST
    return alike and abs(abs(found.ratio) - 1) <= _GROWTH and abs(cmath.phase(found.ratio)) <= _TURN_RAD
