"""Images: crops of one face each, or stills with faces in them. A still is a full window by repetition.

Each face is scored once: no mirrored copy, no ensemble. One feature per face serves all places of its window, so a
still costs one unit through the encoder.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from calibration.apply import Calibration
from engine.backends import Backend, BackendError
from engine.preprocess import stack_units
from engine.spec import CropGeometry
from stream.faces import FaceTracker
from stream.faces.nets.landmarks import LandmarkNet
from stream.faces.nets.regions import Region, five_points, region_of_landmarks
from stream.faces.tracking.turns import tiles
from stream.model import LoadedModel
from stream.offline.inputs import Item, Problem, read_images
from stream.offline.rows import StillRow
from stream.publish.message import scores
from stream.scores.settings import ScoreSettings
from stream.scores.smooth import Smoother
from stream.window.crop import crop_face

Image = NDArray[np.uint8]

BATCH = 32
"""Faces through the encoder at once."""
_LOOKS = (1.25, 1.75, 1.0)
_TURNED_LOOKS = (1.25, 1.0)
"""Sides of the landmark net's regions, over the image's, in turn until one shows a face."""
_TURNS = (math.radians(-40), math.radians(40), math.radians(-75), math.radians(75))
_REGION_SCALE = 1.5
_PRESENCE = 0.5
_SURE = 0.99
"""A presence that ends the search. 9 % of 3,264 crops of FER2013 have less at the first look, and there the points of
the surest look lie visibly better: on the mouth's corners, on the eyes of lying heads."""
_TYPICAL = np.array([[0.319, 0.397], [0.688, 0.392], [0.505, 0.630], [0.362, 0.773], [0.659, 0.769]], np.float32)
"""Where the five points of a tight crop are, in shares of its sides: medians over 3,823 crops of FER2013."""
_STILL_PERIOD_NS = 40_000_000


@dataclass(frozen=True, eq=False)
class FoundFace:
    """A face of an image, ready to be scored: where its row belongs, and its crop.

    Attributes:
        path: Of the row.
        member: Its name in the archive.
        crop: ``(S, S, 3)`` uint8 RGB.
        aligned: Whether the crop is the daemon's own, by landmarks.
        face: Id, where faces were looked for.
        box: x, y, width, height, px; likewise.
        score: The detector's; likewise.
    """

    path: str
    member: str | None
    crop: Image
    aligned: bool
    face: str | None = None
    box: tuple[float, float, float, float] | None = None
    score: float | None = None


def decode_image(data: bytes) -> Image | None:
    """Decode a file's bytes to ``(H, W, 3)`` uint8 RGB, grey and transparent ones too; None if it is no image."""
    try:
        image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR) if data else None
    except (cv2.error, MemoryError):
        return None
    return None if image is None else np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2RGB), np.uint8)


def resize_crop(image: Image, size_px: int) -> Image:
    """A whole image as a crop: by area where it shrinks, bilinear where it grows, which is what ``crop_face`` does."""
    shrinks = min(image.shape[:2]) > size_px
    how = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(image, (size_px, size_px), interpolation=how), np.uint8)


def _presence(seen: tuple[float, NDArray[np.float32]]) -> float:
    return seen[0]


class CropAligner:
    """Brings a crop that somebody else cut to the daemon's own geometry.

    A model learned eyes and mouth at fixed places; another cropper puts them elsewhere. The landmark net finds the five
    points on the crop, then the daemon's own function cuts it again. Where it finds no face, the points are assumed
    where they are in most crops.
    """

    def __init__(self) -> None:
        self._net = LandmarkNet()

    def points(self, image: Image) -> tuple[NDArray[np.float32], bool]:
        """The five points that the daemon's crop is cut by.

        Args:
            image: ``(H, W, 3)`` uint8 RGB, filled by one face.

        Returns:
            ``(5, 2)`` float32, px of the image, and whether they were found; else they are where most crops have them.
        """
        height, width = image.shape[:2]
        upright: tuple[float, NDArray[np.float32]] = (0.0, np.zeros((5, 2), np.float32))
        for look in _LOOKS:
            upright = max(upright, self._look(image, look, 0.0), key=_presence)
            if upright[0] >= _SURE:
                return upright[1], True
        # The net knows upright faces; a lying head seems half a face to it, with points beside the eyes. Nearby angles
        # seem whole ones too, so all are looked at before the surest is taken.
        turned = max((self._look(image, look, turn) for look in _TURNED_LOOKS for turn in _TURNS), key=_presence)
        best = turned if turned[0] >= _SURE else upright
        if best[0] >= _PRESENCE:
            return best[1], True
        return _TYPICAL * np.array([width, height], np.float32) - np.float32(0.5), False

    def _look(self, image: Image, look: float, turn: float) -> tuple[float, NDArray[np.float32]]:
        """Presence and five points, seen in two steps; 0 where they lie outside, as landmarks fitted to nothing do."""
        height, width = image.shape[:2]
        side = max(width, height)
        seen = self._net.run(image, Region(width / 2, height / 2, look * side, turn))
        again = self._net.run(image, region_of_landmarks(seen.points, _REGION_SCALE))
        seen = again if again.presence >= min(seen.presence, _PRESENCE) else seen
        points = np.asarray(five_points(seen.points), np.float32)
        inside = bool(((points > -0.2 * width) & (points < 1.2 * side)).all())
        return float(seen.presence) if inside else 0.0, points

    def crop(self, image: Image, geometry: CropGeometry) -> tuple[Image, bool]:
        """Cut one crop.

        Args:
            image: ``(H, W, 3)`` uint8 RGB, filled by one face.
            geometry: The model's.

        Returns:
            ``(S, S, 3)`` uint8 RGB, and whether landmarks were found.
        """
        points, found = self.points(image)
        return crop_face(image, points, geometry), found


class StillFinder:
    """Finds the faces of single images with the daemon's tracker."""

    def __init__(self, tracker: FaceTracker) -> None:
        self._tracker = tracker

    def faces(self, path: str, member: str | None, image: Image, geometry: CropGeometry) -> list[FoundFace]:
        """The faces of an image.

        The tracker looks at one tile of a new picture a frame, so the still is shown until every tile was looked at.
        """
        self._tracker.begin()
        height, width = image.shape[:2]
        looks = 2 + len(tiles(width, height)) if self._tracker.settings.small_faces else 2
        for look in range(looks):
            found = self._tracker.step(image, look * _STILL_PERIOD_NS)
        made = []
        for face in found.faces:
            if face.points5 is None or face.state == "lost":
                continue
            x, y, w, h = (round(float(value), 1) for value in face.box)
            crop = crop_face(image, face.points5, geometry)
            made.append(FoundFace(path, member, crop, True, face.id, (x, y, w, h), round(float(face.score), 4)))
        return made


class StillScorer:
    """Scores crops in batches.

    Args:
        model: Open.
        settings: How scores become labels; smoothing has nothing to do here.
    """

    def __init__(self, model: LoadedModel, settings: ScoreSettings) -> None:
        self.spec = model.spec
        self._backend: Backend = model.backend
        self._calibration = model.calibration if settings.calibrate else Calibration(self.spec.labels)
        self._threshold = Smoother(self.spec.labels, settings.calm, self._calibration.threshold).threshold

    def rows(self, faces: Sequence[FoundFace]) -> Iterator[StillRow]:
        """A row for each face, in order."""
        for start in range(0, len(faces), BATCH):
            part = faces[start : start + BATCH]
            logits = self._logits([face.crop for face in part])
            probs = self._calibration.probs(logits)
            for face, raw, shares in zip(part, logits, probs, strict=True):
                named = scores(self.spec.labels, shares.tolist())
                if named is None:
                    raise BackendError(f"{self._backend.name} gave scores that are no numbers for {face.path}")
                best = int(shares.argmax())
                confidence = round(float(shares[best]), 6)
                yield StillRow(
                    path=face.path,
                    probs=named,
                    label=self.spec.labels[best],
                    confidence=confidence,
                    abstained=confidence < self._threshold,
                    logits=scores(self.spec.labels, raw.tolist()),
                    aligned=face.aligned,
                    member=face.member,
                    face=face.face,
                    box=face.box,
                    score=face.score,
                )

    def _logits(self, crops: list[Image]) -> NDArray[np.float32]:
        """Logits ``(B, C)``; an engine that takes smaller batches gets them."""
        try:
            units = stack_units([[crop] * self.spec.unit for crop in crops], self.spec)
            features = np.array(self._backend.encode(units), np.float32)
            index = np.repeat(np.arange(len(crops), dtype=np.int32)[:, None], self.spec.window, axis=1)
            return np.array(self._backend.head(features, index).logits, np.float32)
        except BackendError:
            if len(crops) == 1:
                raise
            half = len(crops) // 2
            return np.concatenate([self._logits(crops[:half]), self._logits(crops[half:])])


def find_faces(
    item: Item, geometry: CropGeometry, aligner: CropAligner | None, finder: StillFinder | None
) -> Iterator[FoundFace | Problem | None]:
    """The faces of an item's images.

    Args:
        item: Of kind ``faces`` or ``stills``.
        geometry: The model's.
        aligner: For crops; None scales the whole image.
        finder: For stills, which need one.

    Yields:
        Each face, or what is wrong with an image; None after every image, to show progress.
    """
    for path, member, data in read_images(item):
        if isinstance(data, str):
            yield Problem(path, data)
        elif (image := decode_image(data)) is None:
            yield Problem(path, "is not an image that can be read")
        elif finder is not None:
            faces = finder.faces(path, member, image, geometry)
            yield from faces
            if not faces:
                yield Problem(path, "shows no face that was found (crops of faces need --faces)")
        elif aligner is not None:
            crop, aligned = aligner.crop(image, geometry)
            yield FoundFace(path, member, crop, aligned)
        else:
            yield FoundFace(path, member, resize_crop(image, geometry.size_px), False)
        yield None
