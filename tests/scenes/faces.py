"""Moving faces with exactly known geometry, for tests and the benchmark.

Every frame is one real photograph (NASA's public-domain portrait of Eileen Collins, which scikit-image carries)
warped by a known similarity and blended onto a background, so that the true landmarks are those of the photograph,
warped alike.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import cv2
import numpy as np
from numpy.typing import NDArray

# Of the 512 px photograph: centre and width of the face, and the ellipse of the head that is cut out.
_FACE = (222.0, 112.0)
_FACE_WIDTH = 92.0
_HEAD = ((222, 105), (78, 98))
_FPS = 30


@dataclass(frozen=True)
class Pose:
    """Where a face is in one frame.

    Attributes:
        x: Face centre, px.
        y: Likewise.
        width: Face width, px.
        roll_deg: Clockwise in the image.
        mirrored: Whether the photograph is flipped, which makes a second face of it.
    """

    x: float
    y: float
    width: float
    roll_deg: float = 0.0
    mirrored: bool = False

    def matrix(self) -> NDArray[np.float64]:
        """``(2, 3)`` from the photograph to the frame."""
        scale, roll = self.width / _FACE_WIDTH, math.radians(self.roll_deg)
        cos, sin = scale * math.cos(roll), scale * math.sin(roll)
        turn = np.array([[cos, -sin], [sin, cos]])
        if self.mirrored:
            turn = turn @ np.diag([-1.0, 1.0])
        return np.concatenate([turn, (np.array([self.x, self.y]) - turn @ np.array(_FACE))[:, None]], axis=1)


@dataclass(frozen=True)
class Scene:
    """A scripted clip.

    Attributes:
        name: For tables.
        frames: How many.
        poses: Faces by frame index, farthest first; an index in the list is one person.
        cover: (x, y, width, height) of a grey board in front of everything by frame index, or None.
        camera: (dx, dy) px of camera shake by frame index, which moves background and faces.
        size: (width, height), px.
        noise: Standard deviation of the sensor noise, grey levels.
    """

    name: str
    frames: int
    poses: Callable[[int], list[Pose]]
    cover: Callable[[int], tuple[int, int, int, int] | None] = field(default=lambda _: None)
    camera: Callable[[int], tuple[float, float]] = field(default=lambda _: (0.0, 0.0))
    size: tuple[int, int] = (640, 480)
    noise: float = 2.0

    def __iter__(self) -> Iterator[tuple[int, NDArray[np.uint8], list[NDArray[np.float64]]]]:
        """(t_ns, RGB frame, true photograph-to-frame matrix of each person) of each frame."""
        photo, mask = portrait()
        width, height = self.size
        random = np.random.default_rng(1)
        coarse = random.uniform(40, 200, (10, 13, 3)).astype(np.float32)
        margin = 80
        # A few frames of noise in turn: drawing it anew for each frame would take longer than following the face.
        noise = [random.normal(0, self.noise, (height, width, 3)).astype(np.float32) for _ in range(4)]
        board = cv2.resize(coarse, (width + 2 * margin, height + 2 * margin), interpolation=cv2.INTER_CUBIC)
        for index in range(self.frames):
            dx, dy = self.camera(index)
            shift = np.array([[1, 0, dx - margin], [0, 1, dy - margin]], np.float64)
            frame = cv2.warpAffine(board, shift, self.size, borderMode=cv2.BORDER_REFLECT)
            matrices = []
            for pose in self.poses(index):
                matrix = pose.matrix()
                matrix[:, 2] += (dx, dy)
                matrices.append(matrix)
                source, alpha, warp = photo, mask, matrix
                scale = pose.width / _FACE_WIDTH
                if scale < 0.7:  # a camera averages over a pixel: shrink by area before the warp samples points
                    source, alpha, warp = _shrunk(photo, mask, matrix, scale)
                # Only where the head is: its ellipse, with room for the soft edge.
                reach = 1.3 * scale * max(_HEAD[1])
                centre = matrix @ [*_HEAD[0], 1.0]
                left, top = np.maximum(np.floor(centre - reach), 0).astype(int)
                right, bottom = np.minimum(np.ceil(centre + reach), self.size).astype(int)
                if right <= left or bottom <= top:
                    continue
                part = (int(right - left), int(bottom - top))
                warp = warp - np.array([[0, 0, left], [0, 0, top]])
                layer = cv2.warpAffine(source, warp, part)
                weight = cv2.warpAffine(alpha, warp, part)[..., None]
                below = frame[top:bottom, left:right]
                below += np.asarray((layer - below) * weight, np.float32)
            cover = self.cover(index)
            if cover is not None:
                x, y, w, h = cover
                frame[y : y + h, x : x + w] = 90
            noisy = cv2.convertScaleAbs(np.maximum(frame + noise[index % len(noise)], 0))
            yield (index + 1) * 10**9 // _FPS, np.asarray(noisy, np.uint8), matrices


def portrait() -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """The photograph, ``(512, 512, 3)`` float32 0..255, and the soft mask of its head, ``(512, 512)`` 0..1."""
    from skimage.data import astronaut

    photo = astronaut().astype(np.float32)  # type: ignore[no-untyped-call]
    mask = np.zeros(photo.shape[:2], np.float32)
    cv2.ellipse(mask, _HEAD[0], _HEAD[1], 0, 0, 360, 1.0, -1)
    return photo, np.asarray(cv2.GaussianBlur(mask, (0, 0), 5), np.float32)


def _shrunk(
    photo: NDArray[np.float32], mask: NDArray[np.float32], matrix: NDArray[np.float64], scale: float
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float64]]:
    side = max(round(photo.shape[0] * scale), 8)
    factor = side / photo.shape[0]
    small = cv2.resize(photo, (side, side), interpolation=cv2.INTER_AREA)
    alpha = cv2.resize(mask, (side, side), interpolation=cv2.INTER_AREA)
    # Pixel centres: full = (small + 0.5) / factor - 0.5.
    offset = 0.5 / factor - 0.5
    grow = np.array([[1 / factor, 0, offset], [0, 1 / factor, offset], [0, 0, 1]])
    return np.asarray(small), np.asarray(alpha), matrix @ grow


def _wave(index: int, period: float) -> float:
    return math.sin(2 * math.pi * index / period)


def _shake(amplitude: float) -> Callable[[int], tuple[float, float]]:
    steps = np.random.default_rng(7).uniform(-amplitude, amplitude, (1000, 2))
    return lambda index: (float(steps[index, 0]), float(steps[index, 1]))


def scenes() -> dict[str, Scene]:
    """The scripted clips by name: one face moved in each way that a camera sees, then two faces that interact."""
    one: dict[str, Callable[[int], list[Pose]]] = {
        "static": lambda i: [Pose(320, 240, 110)],
        "slow pan": lambda i: [Pose(200 + 2 * i, 240, 110)],
        "fast pan": lambda i: [Pose(320 + 180 * _wave(i, 60), 240, 110)],
        "zoom": lambda i: [Pose(320, 240, 110 * 2 ** _wave(i, 90))],
        "40 px face": lambda i: [Pose(320 + 30 * _wave(i, 90), 240, 40)],
        "roll 60": lambda i: [Pose(320, 240, 110, 60 * _wave(i, 90))],
    }
    clips = [Scene(name, 90, poses) for name, poses in one.items()]
    still = one["static"]
    clips += [
        Scene("shake", 90, still, camera=_shake(15)),
        Scene("heavy shake", 90, still, camera=_shake(40)),
        Scene("occlusion", 90, still, cover=lambda i: (230, 130, 180, 230) if 30 <= i < 42 else None),
        Scene("passing", 90, lambda i: [Pose(80 + 5 * i, 240, 90)], cover=lambda i: (285, 0, 70, 480)),
        Scene("crossing", 120, lambda i: [Pose(120 + 3.4 * i, 235, 80), Pose(520 - 3.4 * i, 250, 105, 0, True)]),
        Scene("two, shaking", 90, lambda i: [Pose(220, 240, 80), Pose(420, 240, 90, 0, True)], camera=_shake(40)),
    ]
    return {clip.name: clip for clip in clips}
