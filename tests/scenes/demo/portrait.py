"""The photograph behind the demo clip: pixels, landmarks, skin textures and the mesh over them."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.spatial import Delaunay

from engine.errors import DferError
from tests.scenes.demo.expression import INNER_LOWER, INNER_UPPER, IRIS_RIMS, FaceFrame

SCALE = 4  # working pixels per pixel of the photograph, about 1.7 per pixel of the clip
_REGION = (0, -40, 460, 300)  # x0, y0, x1, y1 of the photograph that the camera may see; above 0 is mirrored
_HEAD = (
    227.0,
    92.0,
    84.0,
    90.0,
)  # centre and half axes of an ellipse just outside the hair, px of the photograph
_COLLAR_Y = 222.0


class DemoError(DferError):
    """The demo clip could not be made; the message says what to do."""


@dataclass(frozen=True)
class Portrait:
    """What the renderer needs, in working pixels (the photograph enlarged by ``SCALE``).

    Attributes:
        textures: Name to ``(H, W, 3)`` float32 BGR skin: ``smile`` as photographed, ``rest`` without the
            folds of the smile, ``frown`` with creased brow.
        mouth: ``(H, W, 3)`` float32 BGR: what is behind the lips, fixed to the skull.
        points: ``(N, 3)`` mesh vertices: 478 landmarks, the ring around the hair, anchors of the background.
        head: ``(N,)`` in [0, 1]: how much a vertex follows the head.
        triangles: ``(M, 3)`` vertex indices, mouth interior first.
    """

    textures: dict[str, NDArray[np.float32]]
    mouth: NDArray[np.float32]
    points: NDArray[np.float64]
    head: NDArray[np.float64]
    triangles: NDArray[np.int64]


def photograph() -> NDArray[np.uint8]:
    """Eileen Collins, NASA, public domain: ``(512, 512, 3)`` uint8 RGB, from scikit-image's wheel.

    Raises:
        DemoError: If scikit-image is not installed.
    """
    try:
        from skimage import data
    except ImportError as error:
        raise DemoError("the portrait comes with scikit-image", "pip install scikit-image") from error
    return np.asarray(data.astronaut(), np.uint8)  # type: ignore[no-untyped-call]


def find_landmarks(image: NDArray[np.uint8]) -> NDArray[np.float64]:
    """FaceMesh with irises: ``(478, 3)`` px, z towards the camera negative.

    Raises:
        DemoError: If there is no face.
    """
    import mediapipe as mp

    with mp.solutions.face_mesh.FaceMesh(static_image_mode=True, refine_landmarks=True, max_num_faces=1) as mesh:
        found = mesh.process(image).multi_face_landmarks
    if not found:
        raise DemoError("no face was found in the photograph")
    width, height = image.shape[1], image.shape[0]
    return np.array([[p.x * width, p.y * height, p.z * width] for p in found[0].landmark], np.float64)


def _enlarge(image: NDArray[np.uint8]) -> NDArray[np.float32]:
    x0, y0, x1, y1 = _REGION
    padded = cv2.copyMakeBorder(image, -y0, 0, 0, 0, cv2.BORDER_REFLECT_101)
    region = padded[0 : y1 - y0, x0:x1, ::-1].astype(np.float32)
    large = cv2.resize(region, None, fx=SCALE, fy=SCALE, interpolation=cv2.INTER_CUBIC)
    # A cubic enlargement is soft: give back some of the edge contrast.
    sharp = large + 0.6 * (large - cv2.GaussianBlur(large, (0, 0), 0.8 * SCALE))
    return np.asarray(np.clip(sharp, 0, 255), np.float32)


def _blur(image: NDArray[np.float32], sigma: float) -> NDArray[np.float32]:
    """Gaussian blur; a wide one is made on a smaller image, where it costs a hundredth."""
    factor = max(int(sigma // 4), 1)
    height, width = image.shape[:2]
    small = cv2.resize(image, (width // factor, height // factor), interpolation=cv2.INTER_AREA)
    blurred = cv2.GaussianBlur(small, (0, 0), sigma / factor)
    return np.asarray(cv2.resize(blurred, (width, height), interpolation=cv2.INTER_LINEAR), np.float32)


def _soft(shape: tuple[int, ...], strokes: list[tuple[NDArray[np.float64], float]], blur: float) -> NDArray[np.float32]:
    """Mask ``(H, W, 1)`` in [0, 1] of blurred strokes: (points px, width px)."""
    mask = np.zeros(shape[:2], np.float32)
    for points, width in strokes:
        cv2.polylines(mask, [np.round(points).astype(np.int32)], False, 1.0, max(int(round(width)), 1), cv2.LINE_AA)
    return _blur(mask, blur)[..., None]


def _relaxed(image: NDArray[np.float32], at: NDArray[np.float64], unit: float) -> NDArray[np.float32]:
    """The skin at rest: no smile folds, no shine on lifted cheeks, no shadow in the mouth corners."""
    mouth: NDArray[np.uint8] = np.zeros(image.shape[:2], np.uint8)
    outline = np.concatenate([at[list(INNER_UPPER)], at[list(INNER_LOWER)][::-1]])
    cv2.fillPoly(mouth, [np.round(outline).astype(np.int32)], 255)
    mouth = np.asarray(cv2.dilate(mouth, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (9, 9))), np.uint8)
    healed = cv2.inpaint(np.clip(image, 0, 255).astype(np.uint8), mouth, 8, cv2.INPAINT_TELEA)
    blend = _blur(mouth.astype(np.float32) / np.float32(255), 1.5)[..., None]
    image = np.asarray(image * (1 - blend) + healed * blend, np.float32)

    fold = _soft(image.shape, [(_fold_line(at, side), 0.17 * unit) for side in (0, 1)], 0.035 * unit)
    image = _fill(image, np.clip(1.4 * fold, 0, 1), 0.15 * unit)
    # Lines under the eyes and the crow's feet: half of their contrast.
    under = [
        (at[list(row)] + [0, 0.10 * unit], 0.08 * unit) for row in ((226, 110, 24, 23, 22), (446, 339, 254, 253, 252))
    ]
    image = _fill(image, 0.55 * np.clip(1.3 * _soft(image.shape, under, 0.03 * unit), 0, 1), 0.12 * unit)
    cheeks = [(at[[205, 50]], 0.35 * unit), (at[[425, 280]], 0.35 * unit)]
    shine = np.clip(_soft(image.shape, cheeks, 0.10 * unit), 0, 1)
    level = _blur(image, 0.35 * unit)
    return np.asarray(
        image - 0.75 * shine * np.clip(_blur(image, 0.05 * unit) - level, 0, None),
        np.float32,
    )


def _fold_line(at: NDArray[np.float64], side: int) -> NDArray[np.float64]:
    """The fold from nostril to beside the mouth corner, ``(4, 2)``; side 0 is the image's left."""
    pairs = (
        ((203, 64, 0.5), (206, 165, 0.7), (216, 186, 0.5), (57, 212, 0.5)),
        ((278, 423, 0.5), (426, 391, 0.7), (436, 322, 0.5), (410, 287, 0.5)),
    )[side]
    return np.array([share * at[a] + (1 - share) * at[b] for a, b, share in pairs])


def _fill(image: NDArray[np.float32], mask: NDArray[np.float32], spread: float) -> NDArray[np.float32]:
    """Replace what is under the mask by the skin on both sides of it, with the grain kept."""
    keep = np.clip(1 - 1.6 * mask, 0.001, 1)
    around = _blur(image * keep, spread) / _blur(keep, spread)[..., None]
    grain = image - _blur(image, 3.0)
    return np.asarray(image * (1 - mask) + (around + 0.6 * grain) * mask, np.float32)


def _creased(image: NDArray[np.float32], at: NDArray[np.float64], unit: float) -> NDArray[np.float32]:
    """Faint upright lines between darker brows, and a shadow running down from the mouth corners."""
    middle, side = (at[107] + at[336]) / 2, (at[336] - at[107]) / 2
    down = (at[168] - middle) / max(float(np.linalg.norm(at[168] - middle)), 1e-6)
    lines = [
        (
            np.array([middle + s * 0.45 * side - down * 0.03 * unit, middle + s * 0.36 * side + down * 0.10 * unit]),
            1.0,
        )
        for s in (-1, 1)
    ]
    shade = np.clip(0.9 * _soft(image.shape, lines, 0.022 * unit), 0, 0.24)
    corners = [(np.array([at[a], 0.5 * at[a] + 0.5 * at[b]]), 0.05 * unit) for a, b in ((61, 202), (291, 422))]
    shade = shade + 0.22 * _soft(image.shape, corners, 0.05 * unit)
    brows = [(at[list(row)], 0.09 * unit) for row in ((46, 53, 52, 65, 55), (276, 283, 282, 295, 285))]
    brow = np.clip(1.5 * _soft(image.shape, brows, 0.02 * unit), 0, 1)
    darker = np.clip(_blur(image, 0.06 * unit) - image, 0, None)
    image = image - 0.8 * brow * darker
    return np.asarray(image * (1 - shade * np.array([1.0, 0.9, 0.75], np.float32)), np.float32)


def _mouth_interior(image: NDArray[np.float32], at: NDArray[np.float64], unit: float) -> NDArray[np.float32]:
    """Upper teeth where the photograph shows them, gum above, darkness and a hint of tongue below."""
    upper, lower = at[list(INNER_UPPER)], at[[78, *INNER_LOWER, 308]]
    height, width = image.shape[:2]
    x = np.arange(width, dtype=np.float64)
    top = np.interp(x, upper[:, 0], upper[:, 1])[None]
    bottom = np.interp(x, lower[:, 0], lower[:, 1])[None]
    y = np.arange(height, dtype=np.float64)[:, None]
    inset = 0.015 * unit
    rows = np.clip(y, top + inset, np.maximum(bottom - 0.012 * unit, top + inset)).astype(np.float32)
    columns = np.broadcast_to(x.astype(np.float32)[None], rows.shape)
    teeth = cv2.remap(image, np.ascontiguousarray(columns), rows, cv2.INTER_LINEAR)
    depth = np.clip((y - (bottom - 0.01 * unit)) / (0.06 * unit), 0, 1)[..., None]
    centre = at[[78, 308]].mean(0)
    far = np.clip(np.abs(x - centre[0]) / (0.52 * unit), 0, 1)[None, :, None] ** 6
    dark = np.array([26, 20, 48], np.float64)
    tongue_y = (y - (bottom + 0.36 * unit)) / (0.16 * unit)
    tongue_x = (x - centre[0]) / (0.22 * unit)
    tongue = np.exp(-(tongue_y**2) - (tongue_x[None] ** 2))[..., None]
    back = dark + tongue * np.array([52, 44, 92], np.float64)
    cover = np.clip(depth + far, 0, 1)
    return np.asarray(teeth * (1 - cover) + back * cover, np.float32)


def load_portrait() -> Portrait:
    """Photograph, landmarks, textures and mesh.

    Raises:
        DemoError: If scikit-image or the face is missing.
    """
    image = photograph()
    landmarks = find_landmarks(image)
    offset = np.array([_REGION[0], _REGION[1], 0.0])
    cx, cy, rx, ry = _HEAD
    angles = np.linspace(np.pi * 0.86, np.pi * 2.14, 22)
    ring = np.stack([cx + rx * np.cos(angles), cy + ry * np.sin(angles), np.full(22, 35.0)], 1)
    x0, y0, x1, y1 = _REGION
    edge = [(float(x), float(y)) for x in np.linspace(x0, x1 - 1, 8) for y in (y0, y1 - 1)]
    edge += [(float(x), float(y)) for y in np.linspace(y0, y1 - 1, 7)[1:-1] for x in (x0, x1 - 1)]
    edge += [(x, _COLLAR_Y) for x in (130.0, 165.0, 195.0, 225.0, 255.0, 285.0, 320.0)]
    anchors = np.array([[x, y, 35.0] for x, y in edge])
    points = (np.concatenate([landmarks, ring, anchors]) - offset) * SCALE
    head = np.concatenate([np.ones(len(landmarks) + len(ring)), np.zeros(len(anchors))])

    # The rim of the iris lies partly behind the lids: as vertices it would fold the mesh when
    # the eye opens wide.
    vertices = np.setdiff1d(np.arange(len(points)), IRIS_RIMS)
    simplices = vertices[Delaunay(points[vertices, :2]).simplices]
    opening = np.concatenate([points[list(INNER_UPPER), :2], points[list(INNER_LOWER), :2][::-1]]).astype(np.float32)
    lips = set(INNER_UPPER) | set(INNER_LOWER)
    inside = np.array(
        [
            set(map(int, t)) <= lips
            and cv2.pointPolygonTest(opening, tuple(map(float, points[t, :2].mean(0))), False) >= 0
            for t in simplices
        ]
    )
    large = _enlarge(image)
    at = points[:, :2]
    unit = float(np.linalg.norm(FaceFrame.of(points).axes[0]))
    rest = _relaxed(large, at, unit)
    return Portrait(
        textures={"smile": large, "rest": rest, "frown": _creased(rest, at, unit)},
        mouth=_mouth_interior(large, at, unit),
        points=points,
        head=head,
        triangles=np.concatenate([simplices[inside], simplices[~inside]]).astype(np.int64),
    )
