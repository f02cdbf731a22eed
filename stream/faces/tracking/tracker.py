"""Finds, follows and names the faces of one source: nets on one side, policy on the other."""

from __future__ import annotations

import math
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from stream.camera.pixels import Image, Pixels, as_pixels
from stream.faces.nets.detect import Detection, Detector
from stream.faces.nets.landmarks import LandmarkNet
from stream.faces.nets.regions import Region, box_of, five_points, region_of_detection, region_of_landmarks
from stream.faces.pose import head_pose
from stream.faces.quality import sharpness
from stream.faces.result import FacesResult, State, TrackedFace
from stream.faces.settings import FaceSettings
from stream.faces.signals import SignalReader
from stream.faces.tracking.associate import Place, place_of
from stream.faces.tracking.cut import CutDetector, moved_share, thumbnail
from stream.faces.tracking.policy import Tracks
from stream.faces.tracking.template import Template
from stream.faces.tracking.track import Look, Observation, Track
from stream.faces.tracking.turns import Search, Turns

_LONGEST_S = 0.5
"""Longest time between two looks or detections that :meth:`FaceTracker.ease` makes: a third of ``confirm_within_s``."""


class FaceTracker:
    """The faces of one source, frame by frame.

    On every frame each face's landmarks are moved on with its picture; where that leaves something over, and five
    times a second, the landmark net looks at it anew. Four times a second a detector looks for new faces and checks the
    known ones: more often where a face is missing or something moves that is none, less where nothing does.

    Args:
        settings: Thresholds, times and gates.
        beside: A tracker of another source in this thread, whose nets this one uses as well.

    Raises:
        FaceError: If the nets' model files are missing or cannot be run.
    """

    def __init__(self, settings: FaceSettings | None = None, beside: FaceTracker | None = None) -> None:
        self.settings = settings or FaceSettings()
        self._tracks = Tracks(self.settings)
        self._pause = 1.0
        self._cuts = CutDetector(self.settings.cut_similarity)
        self._landmarks: LandmarkNet
        self._detectors: dict[str, Detector]
        self._signals: SignalReader
        if beside is not None:
            self._landmarks, self._detectors, self._signals = beside._landmarks, beside._detectors, beside._signals
        else:
            self._load()
        self._turns, self._search = Turns(), Search()
        self.reset()

    def _load(self) -> None:
        # Side by side: where nothing is in the cache, compiling them takes a second.
        with ThreadPoolExecutor(3, "load") as loader:
            detectors = {kind: loader.submit(Detector, kind) for kind in ("full", "short")}
            self._landmarks = loader.submit(LandmarkNet).result()
            self._detectors = {kind: loading.result() for kind, loading in detectors.items()}
        self._signals = SignalReader()

    def reset(self) -> None:
        """Forget every face, as after a lost camera; ids go on counting and are never reused."""
        self._tracks.clear()
        self._cuts.reset()
        self._last_ns: int | None = None
        self._detected_ns: int | None = None
        self._detected_thumb: NDArray[np.float32] | None = None
        self._shape: tuple[int, ...] | None = None
        self._turns.restart()
        self._search.restart()

    def change(self, settings: FaceSettings) -> None:
        """Go on with other settings; no face is forgotten, and cuts are told by the threshold given first."""
        self.settings = settings
        self.ease(self._pause)

    def ease(self, pause: float) -> None:
        """Let `pause` times as long pass between looks of the landmark net and detections, at most half a second."""
        self._pause, times = pause, self.settings
        names = ("landmarks_every_s", "detect_every_s", "recheck_every_s")
        eased = {name: max(getattr(times, name), min(_LONGEST_S, pause * getattr(times, name))) for name in names}
        self._tracks.change(replace(times, **eased))

    def begin(self) -> None:
        """Begin another source, as a new tracker would, without loading the nets again: ids count from 1 anew."""
        self._tracks = Tracks(self.settings)
        self.reset()

    def step(self, image: Image, t_ns: int) -> FacesResult:
        """Process the next frame.

        Args:
            image: ``(H, W, 3)`` uint8 RGB, or planes.
            t_ns: Capture time, ns, increasing.

        Returns:
            The faces of this frame, those just lost included.

        Raises:
            ValueError: If the image is not RGB uint8 or time does not increase.
        """
        if not isinstance(image, Pixels):
            if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
                raise ValueError(f"a frame is (H, W, 3) uint8 RGB, not {image.shape} {image.dtype}")
            image = as_pixels(image)
        height, width, _ = image.shape
        thumb = thumbnail(image)
        change = self._cuts.step(thumb)
        resized = self._shape is not None and self._shape != image.shape
        cut = change.cut or resized
        gap_s = 0.0 if self._last_ns is None else (t_ns - self._last_ns) / 1e9
        lost: list[Track] = []
        late = gap_s > self.settings.coast_s + self.settings.memory_s
        revoked = change.revoked and not resized and not late and self._tracks.cut_can_be_revoked
        if cut or late or revoked:
            if revoked:
                lost = self._tracks.revoke_cut()
            elif resized or late:
                lost = self._tracks.clear()
            else:
                lost = self._tracks.cut()
            self._detected_ns = None
            self._turns.restart()
            self._search.restart()
        self._shape, self._last_ns = image.shape, t_ns
        self._detect_ms = self._landmark_ms = 0.0
        self._tracks.begin(t_ns, change.dx * width, change.dy * height)
        self._follow(image)
        moved = self._moved(thumb, image)
        closely = self._search.close(moved)
        detected = self._turns.surveying or self._tracks.detection_due(self._detected_ns, moved > 0, closely)
        if detected:
            self._detected_thumb = thumb
            self._reconcile(image)
            self._search.ran(moved, bool(self._tracks.active))
        lost += self._tracks.end()
        faces = [self._report(image, track) for track in self._tracks.active]
        faces += [self._report(image, track, "lost") for track in lost]
        return FacesResult(faces, cut, self._detect_ms, self._landmark_ms, detected, revoked)

    def _moved(self, thumb: NDArray[np.float32], image: Pixels) -> float:
        """How much of the picture moved since a detector last ran, apart from the faces that are followed, 0..1."""
        if self._detected_thumb is None:
            return 1.0
        height, width, _ = image.shape
        boxes = (track.motion.box for track in self._tracks.active)
        known = [(x / width, y / height, w / width, h / height) for x, y, w, h in boxes]
        return moved_share(self._detected_thumb, thumb, known)

    def _follow(self, image: Image) -> None:
        """Move each face's landmarks on where that explains the picture; elsewhere let the landmark net look anew."""
        tracks, started = self._tracks, time.perf_counter_ns()
        for track in tracks.active:
            if track.look is not None:
                track.alignment = track.look.template.align(image, track.motion.region)
        due = tracks.looks_due()
        for track in tracks.active:
            if track not in due:
                tracks.move_on(track)
        self._landmark_ms += (time.perf_counter_ns() - started) / 1e6
        for track in due:
            seen = self._look(image, track.expected_region)
            track.presence, track.look = seen.presence, None
            if seen.presence >= self.settings.min_presence:
                self._observe(image, track, seen)
        tracks.resolve_duplicates()

    def _observe(self, image: Image, track: Track, seen: Observation) -> None:
        self._tracks.observe(track, seen)
        if self.settings.landmarks_every_s > 0:
            template = Template(image, seen.region, self.settings.region_scale)
            track.look = Look(seen, template, self._tracks.now_ns)

    def _reconcile(self, image: Image) -> None:
        """Check the known faces against a detection, recover hidden ones, start new ones."""
        tracks, settings = self._tracks, self.settings
        found = self._detect(image)
        places = [_place_of_detection(d) for d in found]
        matched = tracks.match_active(places)
        for index, track in matched.items():
            self._confirm(image, track, found[index], places[index])
        confirmed = {track.number for track in matched.values()}
        for track in tracks.active:
            if track.number not in confirmed and (track.observation is None or tracks.unconfirmed(track)):
                closer = self._closer(image, track.motion.region, track.place)
                if closer is not None:
                    self._confirm(image, track, closer, _place_of_detection(closer))
                else:
                    tracks.miss(track)
        fresh: list[tuple[Observation, float]] = []
        # Where no more faces can be followed nobody new is looked at: in a crowd that was most of the work.
        full = len(tracks.active) >= settings.max_faces and not tracks.remembered
        for index, detection in enumerate([] if full else found):
            small = max(detection.box[2:]) < settings.min_face_px
            if index in matched or small or detection.score < settings.new_score or tracks.is_followed(places[index]):
                continue
            seen = self._look_twice(image, self._region(detection), places[index])
            if seen.presence >= settings.min_presence and not tracks.is_followed(seen.place):
                fresh.append((seen, detection.score))
        recovered = tracks.match_remembered([seen.place for seen, _ in fresh])
        for index, track in recovered.items():
            tracks.reactivate(track, *fresh[index])
        rest = [entry for index, entry in enumerate(fresh) if index not in recovered]
        for seen, score in sorted(rest, key=lambda entry: -entry[0].place.size):
            if len(tracks.active) < settings.max_faces and not tracks.is_followed(seen.place):
                tracks.start(seen, score)
        tracks.resolve_duplicates()

    def _confirm(self, image: Image, track: Track, detection: Detection, place: Place) -> None:
        tracks = self._tracks
        tracks.confirm(track, detection.score)
        if track.observation is not None:
            if not tracks.drifted(track, place):
                return
            # Whole-frame detections of rolled faces can be off by more than the landmarks: ask again from near.
            closer = self._closer(image, track.motion.region, track.place)
            if closer is not None and not tracks.drifted(track, _place_of_detection(closer)):
                return
        region = self._region(detection)
        seen = self._look_twice(image, region, place)
        if seen.presence >= self.settings.min_presence:
            self._observe(image, track, seen)
        elif track.observation is None:
            tracks.observe_detection(track, place, region, detection.box)

    def _look_twice(self, image: Image, region: Region, place: Place) -> Observation:
        """Landmarks of a detected face; of a closer detection where the first is too coarse for the landmark net."""
        seen = self._look(image, region)
        if seen.presence < self.settings.min_presence:
            closer = self._closer(image, region, place)
            if closer is not None:
                again = self._look(image, self._region(closer))
                return again if again.presence > seen.presence else seen
        return seen

    def _closer(self, image: Image, region: Region, place: Place) -> Detection | None:
        """Detect one face in its own surroundings, where it is large and upright and the short range sees it best."""
        wide = Region(region.x, region.y, region.size * 1.6, region.angle)
        started = time.perf_counter_ns()
        found = self._detectors["short"].run(image, self.settings.detect_score, wide)
        self._detect_ms += (time.perf_counter_ns() - started) / 1e6
        near = [d for d in found if _same(place, _place_of_detection(d))]
        return near[0] if near else None

    def _detect(self, image: Image) -> list[Detection]:
        started = time.perf_counter_ns()
        height, width = image.shape[:2]
        found: list[Detection] = []
        for run in self._turns.take(width, height, self.settings.small_faces):
            for detection in self._detectors[run.detector].run(image, self.settings.detect_score, run.region):
                place = _place_of_detection(detection)
                if not any(_same(place, _place_of_detection(other)) for other in found):
                    found.append(detection)
        self._detected_ns = self._tracks.now_ns
        self._detect_ms += (time.perf_counter_ns() - started) / 1e6
        return found

    def _region(self, detection: Detection) -> Region:
        return region_of_detection(detection.box, detection.keypoints, self.settings.region_scale)

    def _look(self, image: Image, region: Region) -> Observation:
        started = time.perf_counter_ns()
        answer = self._landmarks.run(image, region)
        points = answer.points
        five = five_points(points)
        place = place_of(five[0], five[1], five[2], (five[3] + five[4]) / 2)
        following = region_of_landmarks(points, self.settings.region_scale)
        self._landmark_ms += (time.perf_counter_ns() - started) / 1e6
        return Observation(points, five, answer.presence, place, following, box_of(points))

    def _report(self, image: Image, track: Track, state: State | None = None) -> TrackedFace:
        seen = track.observation if state != "lost" else None
        if state is None:
            state = "coasting" if seen is None else ("new" if track.born == self._tracks.frame else "tracked")
        box = track.motion.box
        pose = None if seen is None else head_pose(seen.points)
        if seen is not None and pose is not None and track.changed(self._tracks.now_ns):
            track.sharpness = sharpness(image, seen.points5)
            track.signals = self._signals.read(image, seen.points, pose, seen.presence)
        return TrackedFace(
            id=track.id,
            state=state,
            age_frames=self._tracks.frame - track.born,
            box=box,
            score=track.score,
            landmarks=None if seen is None else np.ascontiguousarray(seen.points[:, :2]),
            points5=None if seen is None else seen.points5,
            presence=track.presence if seen is None else seen.presence,
            yaw_deg=None if pose is None else pose.yaw_deg,
            pitch_deg=None if pose is None else pose.pitch_deg,
            size_px=math.sqrt(max(box[2] * box[3], 0.0)),
            sharpness=None if seen is None else track.sharpness,
            roll_deg=None if pose is None else pose.roll_deg,
            signals=None if seen is None else track.signals,
        )


def _place_of_detection(detection: Detection) -> Place:
    points = detection.keypoints
    return place_of(points[0], points[1], points[2], points[3])


def _same(a: Place, b: Place) -> bool:
    return math.hypot(a.x - b.x, a.y - b.y) < 0.4 * min(a.size, b.size)
