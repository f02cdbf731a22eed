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
from engine.backends import Backend, BackendError, HeadOutput
from engine.preprocess import stack_units
from engine.spec import CropGeometry
from stream.assemble import LoadedModel
from stream.camera.video.still import decode_image
from stream.faces import FaceTracker
from stream.faces.covered import cover
from stream.faces.nets.regions import box_of
from stream.faces.pose import head_pose
from stream.faces.quality import sharpness
from stream.faces.tracking.turns import tiles
from stream.offline.align import CropAligner, CropPoints
from stream.offline.images import ImageFile, read_images
from stream.offline.inputs import Item, Problem
from stream.offline.rows import StillRow
from stream.publish.message import Quality, scores
from stream.scores.look import HIDDEN, describe
from stream.scores.settings import ScoreSettings
from stream.scores.smooth import Smoother
from stream.window.crop import crop_face

Image = NDArray[np.uint8]

BATCH = 32
"""Faces through the encoder at once."""
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
        quality: How good a look it is; None without landmarks.
    """

    path: str
    member: str | None
    crop: Image
    aligned: bool
    face: str | None = None
    box: tuple[float, float, float, float] | None = None
    score: float | None = None
    quality: Quality | None = None


def resize_crop(image: Image, size_px: int) -> Image:
    """A whole image as a crop: by area where it shrinks, bilinear where it grows, which is what ``crop_face`` does."""
    shrinks = min(image.shape[:2]) > size_px
    how = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(image, (size_px, size_px), interpolation=how), np.uint8)


class StillFinder:
    """Finds the faces of single images with the daemon's tracker."""

    def __init__(self, tracker: FaceTracker) -> None:
        self._tracker = tracker

    def faces(self, file: ImageFile, image: Image, geometry: CropGeometry) -> list[FoundFace]:
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
            seen = cover(image, face.points5)
            quality = describe(face.size_px, face.sharpness, face.yaw_deg, face.pitch_deg, seen)
            score = round(float(face.score), 4)
            made.append(FoundFace(file.path, file.member, crop, True, face.id, (x, y, w, h), score, quality))
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
            output = self._output([face.crop for face in part])
            logits = np.array(output.logits, np.float32)
            now = None if output.now is None else np.array(output.now, np.float32)
            probs = self._calibration.probs(logits)
            for k, face in enumerate(part):
                named = self._scores(probs[k], face)
                best = int(probs[k].argmax())
                confidence = round(float(probs[k][best]), 6)
                yield StillRow(
                    path=face.path,
                    probs=named,
                    label=self.spec.labels[best],
                    confidence=confidence,
                    abstained=confidence < self._threshold or _hidden(face.quality),
                    logits=scores(self.spec.labels, logits[k].tolist()),
                    aligned=face.aligned,
                    now=None if now is None else self._scores(self._calibration.of_now.probs(now[k]), face),
                    now_logits=None if now is None else scores(self.spec.labels, now[k].tolist()),
                    quality=face.quality,
                    member=face.member,
                    face=face.face,
                    box=face.box,
                    score=face.score,
                )

    def _scores(self, shares: NDArray[np.float64], face: FoundFace) -> dict[str, float]:
        named = scores(self.spec.labels, shares.tolist())
        if named is None:
            raise BackendError(f"{self._backend.name} gave scores that are no numbers for {face.path}")
        return named

    def _output(self, crops: list[Image]) -> HeadOutput:
        """What the head says of each crop, ``(B, C)``; an engine that takes smaller batches gets them."""
        try:
            units = stack_units([[crop] * self.spec.unit for crop in crops], self.spec)
            features = np.array(self._backend.encode(units), np.float32)
            index = np.repeat(np.arange(len(crops), dtype=np.int32)[:, None], self.spec.window, axis=1)
            output = self._backend.head(features, index)
            now = None if output.now is None else np.array(output.now)
            return HeadOutput(np.array(output.logits), np.array(output.relevance), now)
        except BackendError:
            if len(crops) == 1:
                raise
            half = len(crops) // 2
            parts = [self._output(crops[:half]), self._output(crops[half:])]
            now = None if parts[0].now is None else np.concatenate([each.now for each in parts if each.now is not None])
            relevance = np.concatenate([each.relevance for each in parts])
            return HeadOutput(np.concatenate([each.logits for each in parts]), relevance, now)


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
    for file in read_images(item):
        if file.problem is not None:
            yield Problem(file.path, file.problem)
        elif (image := decode_image(file.data)) is None:
            yield Problem(file.path, "is not an image that can be read")
        elif finder is not None:
            faces = finder.faces(file, image, geometry)
            yield from faces
            if not faces:
                yield Problem(file.path, "shows no face that was found (crops of faces need --faces)")
        elif aligner is not None:
            points = aligner.points(image)
            crop = crop_face(image, points.points5, geometry)
            yield FoundFace(file.path, file.member, crop, points.found, quality=_quality(image, points))
        else:
            yield FoundFace(file.path, file.member, resize_crop(image, geometry.size_px), False)
        yield None


def _hidden(quality: Quality | None) -> bool:
    return quality is not None and (quality.mouth_hidden or 0.0) > HIDDEN


def _quality(image: Image, points: CropPoints) -> Quality | None:
    """How good a look a crop is, of a face whose landmarks were found in it."""
    if not points.found or points.landmarks is None:
        return None
    _, _, width, height = box_of(points.landmarks)
    pose = head_pose(points.landmarks)
    seen = cover(image, points.points5)
    return describe(math.sqrt(width * height), sharpness(image, points.points5), pose.yaw_deg, pose.pitch_deg, seen)
