"""Heads turned by known angles: NASA's public-domain portrait on its own landmarks, rotated and drawn far side first.

The mesh is brought to a straight look first: yaw and roll zero where it fits its own mirror image best, pitch zero
where forehead and chin are equally near. From there every angle is exact.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from stream.faces.nets.landmarks import LandmarkNet
from stream.faces.nets.regions import Region, region_of_landmarks
from stream.faces.pose import HeadPose

SIZE = (480, 480)
_FACE = Region(222.0, 112.0, 150.0)
_FACE_PX = 200.0
# Pairs that mirror each other across a face, and the ends of the line that is upright where pitch is zero.
_PAIRS = ((33, 263), (133, 362), (234, 454), (127, 356), (172, 397), (61, 291), (70, 300), (50, 280), (98, 327))
_MIDDLE = (10, 151, 9, 168, 6, 1, 2, 13, 14, 152, 175, 199)


@dataclass(frozen=True, eq=False)
class _Head:
    image: NDArray[np.uint8]
    source: NDArray[np.float64]  # (N, 2) px of the photograph
    points: NDArray[np.float64]  # (N, 3) straight, centred, one unit wide
    triangles: NDArray[np.int64]


def rotation(pose: HeadPose) -> NDArray[np.float64]:
    """``(3, 3)`` of a pose as messages state it, x right, y down, z away from the camera: nod, then turn, then lean."""
    yaw, pitch, roll = (math.radians(v) for v in (pose.yaw_deg, pose.pitch_deg, pose.roll_deg))
    turn = np.array([[math.cos(yaw), 0, -math.sin(yaw)], [0, 1, 0], [math.sin(yaw), 0, math.cos(yaw)]])
    nod = np.array([[1, 0, 0], [0, math.cos(pitch), math.sin(pitch)], [0, -math.sin(pitch), math.cos(pitch)]])
    lean = np.array([[math.cos(roll), -math.sin(roll), 0], [math.sin(roll), math.cos(roll), 0], [0, 0, 1]])
    return np.asarray(lean @ turn @ nod)


@functools.cache
def _head() -> _Head:
    from scipy.spatial import Delaunay
    from skimage.data import astronaut

    image = np.asarray(astronaut(), np.uint8)  # type: ignore[no-untyped-call]
    net, region = LandmarkNet(), _FACE
    for _ in range(4):
        seen = net.run(image, region)
        region = region_of_landmarks(seen.points, 1.5)
    face = seen.points.astype(np.float64)
    # The hair around the face follows it, further back; without it the face would be a mask on nothing.
    centre = face[:, :2].mean(0)
    width = float(np.ptp(face[:, 0]))
    angles = np.linspace(0, 2 * np.pi, 32, endpoint=False)
    ring = np.stack([221 + 80 * np.cos(angles), 100 + 96 * np.sin(angles), np.full(32, 0.45 * width)], 1)
    source = np.concatenate([face[:, :2], ring[:, :2]])
    points = np.concatenate([face, ring]) - [*centre, 0.0]
    straight = points @ _straighten(points).T / width
    return _Head(image, source, straight, np.asarray(Delaunay(source).simplices, np.int64))


def _straighten(points: NDArray[np.float64]) -> NDArray[np.float64]:
    """The rotation after which the mesh fits its mirror image and its forehead is as near as its chin."""
    order = [*(k for pair in _PAIRS for k in pair), *_MIDDLE]
    swapped = [*(k for pair in _PAIRS for k in pair[::-1]), *_MIDDLE]
    here, there = points[order], points[swapped] * [-1, 1, 1]
    here, there = here - here.mean(0), there - there.mean(0)
    u, _, vt = np.linalg.svd(there.T @ here)
    to_mirror = u @ np.diag([1, 1, np.linalg.det(u @ vt)]) @ vt  # turns `here` into `there`
    half, _ = cv2.Rodrigues(cv2.Rodrigues(to_mirror)[0] / 2)
    upright = points @ half.T
    down = upright[[152, 175, 199]].sum(0) - upright[[10, 151, 9]].sum(0)
    nod = math.atan2(down[2], down[1])
    level = np.array([[1, 0, 0], [0, math.cos(nod), math.sin(nod)], [0, -math.sin(nod), math.cos(nod)]])
    return np.asarray(level @ half)


def draw(pose: HeadPose, mirrored: bool = False, face_px: float = _FACE_PX) -> NDArray[np.uint8]:
    """A head in that pose, ``(480, 480, 3)`` uint8 RGB.

    Args:
        pose: As drawn, before it is mirrored.
        mirrored: Flip the finished picture.
        face_px: Width of the face.
    """
    head = _head()
    turned = head.points @ rotation(pose).T * face_px
    # A camera at five face widths: nearer parts are larger.
    flat = turned[:, :2] / (1 + turned[:, 2:] / (5 * face_px)) + np.array(SIZE) / 2
    picture = np.full((SIZE[1], SIZE[0], 3), 120, np.uint8)
    corners, texture = flat[head.triangles].astype(np.float32), head.source[head.triangles].astype(np.float32)
    for k in np.argsort(-turned[head.triangles, 2].mean(1)):
        low = np.maximum(np.floor(corners[k].min(0)).astype(int) - 1, 0)
        high = np.minimum(np.ceil(corners[k].max(0)).astype(int) + 2, SIZE)
        if (high <= low).any():
            continue
        (x, y), (width, height) = low.tolist(), (high - low).tolist()
        matrix = cv2.getAffineTransform(texture[k], corners[k] - low.astype(np.float32))
        patch = cv2.warpAffine(head.image, matrix, (width, height), flags=cv2.INTER_LINEAR)
        mask = np.zeros((height, width), np.uint8)
        cv2.fillConvexPoly(mask, np.round((corners[k] - low) * 16).astype(np.int32), 255, shift=4)
        part = picture[y : y + height, x : x + width]
        part[mask > 0] = patch[mask > 0]
    smooth = np.asarray(cv2.GaussianBlur(picture, (0, 0), 0.8), np.uint8)
    return np.ascontiguousarray(smooth[:, ::-1]) if mirrored else smooth
