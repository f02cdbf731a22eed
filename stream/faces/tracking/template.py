"""The face as it looked when its landmarks were last found, aligned to the next frames.

Between two runs of the landmark net a head mostly shifts, turns and grows: a similarity. Aligning a patch of 32 px
finds it within a tenth of a pixel in a tenth of the net's time, and what is left over says when that is not enough: a
blink, a smile, a hand. Inverse compositional alignment, Baker & Matthews, Lucas-Kanade 20 Years On, IJCV 56(3), 2004.
"""

from __future__ import annotations

import cmath
import math
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from stream.camera.pixels import Image, as_pixels
from stream.faces.nets.regions import Region

SIDE = 32
_BLOCKS = 4
# Means of 8 px; two products with it are several times faster than a mean over two axes.
_CELLS = np.kron(np.eye(_BLOCKS), np.full(SIDE // _BLOCKS, _BLOCKS / SIDE)).astype(np.float32)
_STEPS = 4
_STILL = 0.01
"""Half sides of the patch: an alignment that moves less is done."""
_TINY = 1e-3

_AXIS = (np.arange(SIDE, dtype=np.float32) + 0.5) / (SIDE / 2) - 1
_U, _V = np.meshgrid(_AXIS, _AXIS)
# The corners of the square are background: they count little.
_WEIGHT = np.exp(-0.5 * ((_U / 0.75) ** 2 + (_V / 0.85) ** 2) ** 2).astype(np.float32).ravel()
_WEIGHT /= _WEIGHT.sum()


@dataclass(frozen=True)
class Alignment:
    """How a face moved since its template.

    Attributes:
        ratio: Complex: its size's growth (absolute value) and its turn (angle), from the template to this frame.
        centre: Complex: where the template's centre lies in the frame, px.
        residual: Root mean square of what the motion leaves over, in standard deviations of the patch.
        worst: The same of the worst of 4 x 4 blocks.
    """

    ratio: complex
    centre: complex
    residual: float
    worst: float


class Template:
    """A patch of one face and what its alignment needs, computed once.

    Args:
        image: The frame, RGB or planes.
        region: The landmark net's square around the face, px of the frame.
        scale: Side of that square over the face's.
    """

    def __init__(self, image: Image, region: Region, scale: float) -> None:
        self._scale = 2 * scale
        self._half = cmath.rect(region.size / self._scale, region.angle)
        centre = complex(region.x, region.y)
        patch = _normalised(_Source(image, centre, self._half).patch(centre, self._half))
        self._patch = patch
        square = patch.reshape(SIDE, SIDE)
        across = np.empty((SIDE, SIDE), np.float32)
        down = np.empty((SIDE, SIDE), np.float32)
        # Central differences per half side of the patch.
        across[:, 1:-1] = (square[:, 2:] - square[:, :-2]) * (SIDE / 4)
        down[1:-1] = (square[2:] - square[:-2]) * (SIDE / 4)
        across[:, 0] = across[:, -1] = down[0] = down[-1] = 0
        steepest = np.stack([across * _U + down * _V, down * _U - across * _V, across, down]).reshape(4, -1)
        weighted = steepest * _WEIGHT
        hessian = weighted @ steepest.T
        hessian[np.diag_indices(4)] += 1e-4 * float(hessian.trace()) + 1e-9
        self._gain = np.linalg.solve(hessian, weighted).astype(np.float32)

    def align(self, image: Image, region: Region) -> Alignment:
        """Find the face near where it is expected.

        Args:
            image: The next frame.
            region: The landmark net's square where the face is expected.
        """
        half = cmath.rect(region.size / self._scale, region.angle)
        source = _Source(image, complex(region.x, region.y), half)
        centre = complex(region.x, region.y)
        for _ in range(_STEPS):
            error = _normalised(source.patch(centre, half)) - self._patch
            a, b, x, y = (self._gain @ error).tolist()
            step = complex(x, y)
            if abs(step) > 0.5 or abs(complex(a, b)) > 0.3:
                break
            half /= complex(1 + a, b)
            centre -= half * step
            if abs(step) < _STILL and abs(complex(a, b)) < _STILL:
                break
        squares = error * error
        blocks = _CELLS @ squares.reshape(SIDE, SIDE) @ _CELLS.T
        residual, worst = math.sqrt(float(squares @ _WEIGHT)), math.sqrt(float(blocks.max()))
        return Alignment(half / self._half, centre, residual, worst)


class _Source:
    """The surroundings of a face in one frame: grey, shrunk by area to about the patch's resolution."""

    def __init__(self, image: Image, centre: complex, half: complex) -> None:
        pixels = as_pixels(image)
        height, width, _ = pixels.shape
        step = max(int(abs(half) * 2 / SIDE), 1)
        # Room for the alignment to move by a quarter of the square.
        reach = abs(half.real) + abs(half.imag) + abs(half) / 2 + 2 * step
        left, top = max(int(centre.real - reach), 0), max(int(centre.imag - reach), 0)
        right, bottom = min(int(centre.real + reach) + 1, width), min(int(centre.imag + reach) + 1, height)
        across, down = max((right - left) // step, 1), max((bottom - top) // step, 1)
        left, top = min(left, width - 1), min(top, height - 1)
        part = pixels.grey(left, top, left + across * step, top + down * step)
        if step > 1:
            part = np.asarray(cv2.resize(part, (across, down), interpolation=cv2.INTER_AREA), np.uint8)
        self._image, self._step = part, step
        self._origin = complex(left + (step - 1) / 2, top + (step - 1) / 2)

    def patch(self, centre: complex, half: complex) -> NDArray[np.uint8]:
        """``(SIDE, SIDE)`` uint8 around a centre, turned and scaled by ``half``."""
        pixel = half * (2 / SIDE) / self._step
        corner = (centre - self._origin) / self._step - pixel * complex(SIDE / 2 - 0.5, SIDE / 2 - 0.5)
        matrix = np.array([[pixel.real, -pixel.imag, corner.real], [pixel.imag, pixel.real, corner.imag]])
        out = cv2.warpAffine(
            self._image,
            matrix,
            (SIDE, SIDE),
            flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
            borderMode=cv2.BORDER_REPLICATE,
        )
        return np.asarray(out, np.uint8)


def _normalised(patch: NDArray[np.uint8]) -> NDArray[np.float32]:
    """``(SIDE * SIDE,)`` float32 of weighted mean 0 and standard deviation 1: gain and offset of the light drop out."""
    values = patch.ravel().astype(np.float32)
    values -= values @ _WEIGHT
    deviation = math.sqrt(float((values * values) @ _WEIGHT))
    values *= 1 / max(deviation, _TINY)
    return values
