"""A picture as it was decoded: RGB, or the three planes of 4:2:0 video, of which only what is looked at is converted.

Of a frame the daemon looks at a grey thumbnail, at some squares of at most 192 px and at what lies around a face. To
convert and carry all of it as RGB costs 0.4 CPU ms a frame at 640x480 and 8 ms at 3840x2160 (EPYC, 2026-11-28).
OpenCV, 27 MB, is imported where it is called: the capture process does without.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from cv2.typing import MatLike

Plane = NDArray[np.uint8]


@dataclass(frozen=True)
class Coding:
    """How planes code colour (ITU-T H.273).

    Attributes:
        bt709: By the matrix of BT.709; else of BT.601.
        full: Luma from 0 to 255; else from 16 to 235.
    """

    bt709: bool
    full: bool


CODINGS = tuple(Coding(bt709, full) for bt709 in (False, True) for full in (False, True))
"""All there are; their order is that of the shared memory."""


class Pixels(ABC):
    """What a frame shows, whatever its layout.

    Attributes:
        shape: (height, width, 3), as of the RGB picture.
    """

    shape: tuple[int, int, int]

    @abstractmethod
    def rgb(self) -> NDArray[np.uint8]:
        """All of it, ``(H, W, 3)`` uint8 RGB."""

    @abstractmethod
    def grey(self, left: int, top: int, right: int, bottom: int, step: int = 1) -> NDArray[np.uint8]:
        """Its light between two corners, half-open, px, every ``step``-th pixel: ``(h, w)`` uint8, not to be changed.

        Green stands for grey in an RGB picture. Of planes it is luma as coded; :attr:`contrast` says what that is.
        """

    @property
    @abstractmethod
    def contrast(self) -> tuple[float, float]:
        """Factor and offset that bring :meth:`grey` to 0..255."""

    @abstractmethod
    def warp(self, matrix: NDArray[np.float64], size: tuple[int, int], border: int, back: bool = True) -> Plane:
        """Sample it bilinearly, as ``cv2.warpAffine``.

        Args:
            matrix: ``(2, 3)``, from the result's pixels to the picture's, or the other way round.
            size: Width and height of the result, px.
            border: OpenCV's border mode; a constant one is black.
            back: Whether ``matrix`` leads from the result to the picture.

        Returns:
            ``(h, w, 3)`` uint8 RGB.
        """

    @abstractmethod
    def shrunk(self, left: int, top: int, right: int, bottom: int, size: tuple[int, int]) -> NDArray[np.uint8]:
        """What lies between two corners, half-open, px, shrunk by area to a width and height: ``(h, w, 3)`` uint8."""


class RgbPixels(Pixels):
    """A picture that is RGB already.

    Args:
        image: ``(H, W, 3)`` uint8.
    """

    def __init__(self, image: NDArray[np.uint8]) -> None:
        self._image = image
        height, width = image.shape[:2]
        self.shape = (height, width, 3)

    def rgb(self) -> NDArray[np.uint8]:
        """The picture itself."""
        return self._image

    def grey(self, left: int, top: int, right: int, bottom: int, step: int = 1) -> NDArray[np.uint8]:
        """Its green."""
        import cv2

        part = self._image[top:bottom:step, left:right:step]
        return np.asarray(cv2.extractChannel(part, 1) if step == 1 else part[:, :, 1], np.uint8)

    @property
    def contrast(self) -> tuple[float, float]:
        """None needed."""
        return 1.0, 0.0

    def warp(self, matrix: NDArray[np.float64], size: tuple[int, int], border: int, back: bool = True) -> Plane:
        """Sample it."""
        import cv2

        flags = cv2.INTER_LINEAR | (cv2.WARP_INVERSE_MAP if back else 0)
        return np.asarray(cv2.warpAffine(self._image, matrix, size, flags=flags, borderMode=border), np.uint8)

    def shrunk(self, left: int, top: int, right: int, bottom: int, size: tuple[int, int]) -> NDArray[np.uint8]:
        """Shrink a part."""
        import cv2

        part = self._image[top:bottom, left:right]
        return np.ascontiguousarray(cv2.resize(part, size, interpolation=cv2.INTER_AREA))


class PlanarPixels(Pixels):
    """Luma at full size and two planes of colour at half of it, each sample in the middle of its four pixels.

    Args:
        y: ``(H, W)`` uint8; rows may lie apart, likewise below.
        u: ``(ceil(H / 2), ceil(W / 2))`` uint8.
        v: Likewise.
        coding: What they mean.
    """

    def __init__(self, y: Plane, u: Plane, v: Plane, coding: Coding) -> None:
        self.planes, self.coding = (y, u, v), coding
        height, width = y.shape
        self.shape = (height, width, 3)

    def rgb(self) -> NDArray[np.uint8]:
        """All of it, converted."""
        import cv2

        y, *colours = self.planes
        height, width = y.shape
        # An odd last row or column has a sample of colour of its own, half of it outside.
        even = (width + width % 2, height + height % 2)
        u, v = (cv2.resize(plane, even)[:height, :width] for plane in colours)
        return self._converted(y, u, v)

    def grey(self, left: int, top: int, right: int, bottom: int, step: int = 1) -> NDArray[np.uint8]:
        """Its luma, in place."""
        return self.planes[0][top:bottom:step, left:right:step]

    @property
    def contrast(self) -> tuple[float, float]:
        """By the range of its luma."""
        return (1.0, 0.0) if self.coding.full else (255 / 219, -16 * 255 / 219)

    def warp(self, matrix: NDArray[np.float64], size: tuple[int, int], border: int, back: bool = True) -> Plane:
        """Sample each plane, then convert."""
        import cv2

        inverse = np.asarray(matrix if back else cv2.invertAffineTransform(matrix), np.float64)
        # From pixels of luma to those of colour, (x + 0.5) / 2 - 0.5.
        half = inverse / 2
        half[:, 2] -= 0.25
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        black = (0 if self.coding.full else 16, 128, 128)
        return self._converted(
            *(
                cv2.warpAffine(plane, to, size, flags=flags, borderMode=border, borderValue=value)
                for plane, to, value in zip(self.planes, (inverse, half, half), black, strict=True)
            )
        )

    def shrunk(self, left: int, top: int, right: int, bottom: int, size: tuple[int, int]) -> NDArray[np.uint8]:
        """Shrink each plane's part, then convert."""
        import cv2

        y, *colours = self.planes
        small = cv2.resize(y[top:bottom, left:right], size, interpolation=cv2.INTER_AREA)
        halves = (plane[top // 2 : (bottom + 1) // 2, left // 2 : (right + 1) // 2] for plane in colours)
        return self._converted(small, *(cv2.resize(half, size, interpolation=cv2.INTER_AREA) for half in halves))

    def _converted(self, y: MatLike, u: MatLike, v: MatLike) -> NDArray[np.uint8]:
        import cv2

        return np.asarray(cv2.transform(cv2.merge((y, u, v)), _MATRICES[self.coding]), np.uint8)


Image = NDArray[np.uint8] | Pixels


def as_pixels(image: Image) -> Pixels:
    """A picture of either kind."""
    return image if isinstance(image, Pixels) else RgbPixels(image)


def copied(image: Image) -> Image:
    """The same in memory of its own."""
    if isinstance(image, PlanarPixels):
        y, u, v = (np.array(plane) for plane in image.planes)
        return PlanarPixels(y, u, v, image.coding)
    return np.array(as_pixels(image).rgb())


def _matrix(coding: Coding) -> NDArray[np.float64]:
    """``(3, 4)``: from (Y, U, V, 1) of 8 bit to RGB (BT.601-7, 2.5; BT.709-6, 3)."""
    red, blue = (0.2126, 0.0722) if coding.bt709 else (0.299, 0.114)
    green = 1 - red - blue
    light, colour = (1.0, 1.0) if coding.full else (255 / 219, 255 / 224)
    rows = np.array(
        [
            [light, 0, 2 * (1 - red) * colour],
            [light, -2 * (1 - blue) * blue / green * colour, -2 * (1 - red) * red / green * colour],
            [light, 2 * (1 - blue) * colour, 0],
        ]
    )
    return np.column_stack([rows, -rows @ [0 if coding.full else 16, 128, 128]])


_MATRICES = {coding: _matrix(coding) for coding in CODINGS}
