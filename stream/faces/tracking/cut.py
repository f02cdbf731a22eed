"""Camera motion and shot cuts from small grey thumbnails.

A cut is a frame that is unlike the one before however it is shifted (so fast motion does not count) and whatever its
gain and offset (so a flash or a change of exposure does not), and that is less alike than the frames before it were
among themselves. A frame that differs from both its neighbours while these are alike (damage, a slate) is none: its cut
is taken back with the next frame, since waiting for that one would make every cut late. Only a frame that no lens gives
(grey from a JPEG that broke off, noise, a drawn slate) is doubted and waited for.
"""

from __future__ import annotations

import functools
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from stream.camera.pixels import Image, as_pixels
from stream.faces.result import Box

WIDTH, HEIGHT = 64, 48
_FLAT_STD = 4.0
"""Grey levels: below this a thumbnail is a blank (black, white, fade) and says nothing."""
_MIN_OVERLAP = 0.5
_COARSE = 8.0
"""px of the thumbnail: structure wider than this is coarse."""
_STANDS_OUT = 0.25
"""How far a cut lies below the median likeness of the frames before. Flashes of x0.3 to x40, shakes of 60 px, pans of
120 px a frame are none with it (scripted, 2026-11-21)."""
_OTHER_LIGHT, _OTHER_LIGHT_BONUS = 6.0, 0.1
"""Grey levels of histogram distance that speak for another shot, and by how much they raise the threshold."""
_SAME = 1.0
"""Mean difference of two thumbnails, grey levels, below which the camera stands still: noise of 2 grey levels leaves
0.9, a pan of 5 px a frame 1.5 and more (scripted, 2026-11-28)."""
_MOVED = 10.0
"""Grey levels of one pixel of a thumbnail; noise of 3 grey levels in the picture gives 8 in the worst of them."""
_NO_DOUBT = 0.9
"""Likeness without any shift from which none is looked for."""
_BETTER = 0.02
"""Likeness that a shift must gain before it counts as camera motion."""

_DRAWN, _SMOOTH = 0.4, 0.5
"""Share of even ground, and likeness of neighbouring pixels, beyond which no lens gave a frame. Frames of 14 clips: at
most 0.2 and at least 0.7; three quarters grey 0.75, a test card 0.98, noise 0.07 (2026-11-28)."""


def thumbnail(image: Image) -> NDArray[np.float32]:
    """``(48, 64)`` float32 grey thumbnail of a frame, from some of its pixels."""
    pixels = as_pixels(image)
    height, width, _ = pixels.shape
    # Large pictures are read more thinly: the thumbnail costs the same.
    step = max(min(width // (2 * WIDTH), height // (2 * HEIGHT), max(4, width // 320)), 1)
    grey = np.ascontiguousarray(pixels.grey(0, 0, width, height, step))
    small = np.asarray(cv2.resize(grey, (WIDTH, HEIGHT), interpolation=cv2.INTER_AREA), np.float32)
    factor, offset = pixels.contrast
    return small if factor == 1 else small * np.float32(factor) + np.float32(offset)


def moved_share(a: NDArray[np.float32], b: NDArray[np.float32], known: Sequence[Box] = ()) -> float:
    """How much of the picture moved between two thumbnails, 0..1; 0 is nothing, not even a face of 20 px.

    Args:
        a: ``(48, 64)`` float32.
        b: Likewise.
        known: Faces whose surroundings do not count: boxes in shares of the picture.
    """
    change = np.abs(a - b) > _MOVED
    for x, y, width, height in known:
        left, top = int((x - width / 2) * WIDTH), int((y - height / 2) * HEIGHT)
        right, bottom = int((x + 1.5 * width) * WIDTH) + 1, int((y + 1.5 * height) * HEIGHT) + 1
        change[max(top, 0) : max(bottom, 0), max(left, 0) : max(right, 0)] = False
    return int(np.count_nonzero(change)) / (WIDTH * HEIGHT)


def correlation(a: NDArray[np.float32], b: NDArray[np.float32]) -> float:
    """Zero-mean normalised cross-correlation of two equally shaped images, -1..1; 0 where one is flat."""
    x, y = a - a.mean(), b - b.mean()
    norm = float(np.sqrt((x * x).sum() * (y * y).sum()))
    return float((x * y).sum()) / norm if norm > 1e-6 else 0.0


class Picture:
    """A thumbnail and, once they were asked for, its details: what is left without structure wider than 8 px."""

    def __init__(self, grey: NDArray[np.float32]) -> None:
        self.grey = grey

    @functools.cached_property
    def details(self) -> NDArray[np.float32]:
        """Like the thumbnail, of mean about 0."""
        return np.asarray(self.grey - cv2.GaussianBlur(self.grey, (0, 0), _COARSE), np.float32)


def likeness(a: Picture, b: Picture) -> float:
    """Mean of the correlation of two thumbnails and of that of their details, -1..1.

    Two shots are often alike in their coarse light (a bright middle on dark), seldom in detail: on real clips the
    mean is above 0.55 in 999 of 1000 pairs within a shot, below 0.4 in nine of ten pairs from different shots.
    """
    return 0.5 * (correlation(a.grey, b.grey) + correlation(a.details, b.details))


def overlap(
    a: NDArray[np.float32], b: NDArray[np.float32], dx: int, dy: int
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """The parts of two thumbnails that show the same when ``b`` is ``a`` moved by (dx, dy)."""
    height, width = a.shape
    return (
        a[max(-dy, 0) : height - max(dy, 0), max(-dx, 0) : width - max(dx, 0)],
        b[max(dy, 0) : height + min(dy, 0), max(dx, 0) : width + min(dx, 0)],
    )


def histogram_distance(a: NDArray[np.float32], b: NDArray[np.float32]) -> float:
    """Earth mover's distance of two grey histograms after their medians are aligned, grey levels.

    On sorted samples of equal number it is the mean absolute difference.
    """
    x, y = np.sort(a, axis=None), np.sort(b, axis=None)
    middle = x.size // 2
    return float(np.abs((x - x[middle]) - (y - y[middle])).mean())


def doubtful(thumb: NDArray[np.float32]) -> bool:
    """Whether a thumbnail looks like no picture of a lens: half of it even, or noise."""
    right, down = np.abs(np.diff(thumb, axis=1)[:-1]), np.abs(np.diff(thumb, axis=0)[:, :-1])
    even = float(((right < 0.5) & (down < 0.5)).mean())
    return even > _DRAWN or correlation(thumb[:, 1:], thumb[:, :-1]) < _SMOOTH


@dataclass(frozen=True)
class Change:
    """What happened between two frames.

    Attributes:
        cut: Whether a new shot starts here.
        dx: Camera motion: how far the picture moved to the right, in units of its width.
        dy: Likewise downwards, in units of its height.
        similarity: Correlation after that motion, -1..1.
        revoked: Whether the cut of the frame before was none: this frame goes on from the one before that, and the
            motion is counted from there.
    """

    cut: bool
    dx: float = 0.0
    dy: float = 0.0
    similarity: float = 1.0
    revoked: bool = False


class CutDetector:
    """Steps through thumbnails.

    Args:
        threshold: Frames less alike than this may be a cut; -1 never.
    """

    def __init__(self, threshold: float) -> None:
        self._threshold = threshold
        self._window = cv2.createHanningWindow((WIDTH, HEIGHT), cv2.CV_32F)
        self.reset()

    def reset(self) -> None:
        """Forget all frames."""
        self._last: Picture | None = None
        self._recent: deque[float] = deque(maxlen=8)
        self._before: tuple[Picture, deque[float]] | None = None
        self._doubted = False

    def step(self, thumb: NDArray[np.float32]) -> Change:
        """Compare a frame with the last one that showed something.

        Args:
            thumb: ``(48, 64)`` float32 grey.
        """
        before, self._before = self._before, None
        if float(cv2.meanStdDev(thumb)[1][0, 0]) < _FLAT_STD:
            return Change(cut=False)
        picture = Picture(thumb)
        last, self._last = self._last, picture
        if last is None:
            return Change(cut=False)
        change = self._compare(last, picture)
        if before is not None and (back := self._back(*before, picture, change.similarity)) is not None:
            return back
        if change.cut and not self._doubted and doubtful(thumb):
            self._last, self._doubted = last, True
            return Change(cut=False, similarity=change.similarity)
        self._doubted = False
        if change.cut:
            self._before = last, self._recent.copy()
            self._recent.clear()
        else:
            self._recent.append(change.similarity)
        return change

    def _back(self, before: Picture, recent: deque[float], picture: Picture, similarity: float) -> Change | None:
        """How a frame goes on from the one before a cut, where it does so and is unlike the frame of that cut."""
        since, self._recent = self._recent, recent
        change = self._compare(before, picture)
        if change.cut or change.similarity < similarity + _STANDS_OUT:
            self._recent = since
            return None
        self._recent.append(change.similarity)
        return replace(change, revoked=True)

    def _compare(self, last: Picture, picture: Picture) -> Change:
        change = self._shift(last, picture)
        if change.similarity >= self._threshold + _OTHER_LIGHT_BONUS or self._threshold <= -1:
            return change
        # In fast motion the frames before were unlike each other too: a cut must stand out from them.
        usual = float(np.median(self._recent)) if self._recent else 1.0
        stands_out = change.similarity < usual - _STANDS_OUT
        # Other colours speak for another shot too, but less than structure does: a lamp changes them as well.
        other_light = histogram_distance(last.grey, picture.grey) > _OTHER_LIGHT
        unlike = change.similarity < self._threshold + (_OTHER_LIGHT_BONUS if other_light else 0.0)
        return replace(change, cut=unlike and stands_out)

    def _shift(self, last: Picture, picture: Picture) -> Change:
        """How the camera moved; never a cut."""
        a, b = last.grey, picture.grey
        if cv2.norm(a, b, cv2.NORM_L1) < _SAME * a.size:
            return Change(False)
        still = likeness(last, picture)
        # OpenCV multiplies the window into its arguments where they need no padding: hand it new arrays.
        (x, y), _ = cv2.phaseCorrelate(a - a.mean(), b - b.mean(), self._window)
        dx, dy = round(x), round(y)
        if abs(dx) > WIDTH * (1 - _MIN_OVERLAP) or abs(dy) > HEIGHT * (1 - _MIN_OVERLAP):
            return Change(False, 0.0, 0.0, still)
        small = abs(dx) <= 1 and abs(dy) <= 1
        if small and still > _NO_DOUBT:
            return Change(False, x / WIDTH, y / HEIGHT, still)
        moved = likeness(*map(Picture, overlap(a, b, dx, dy)))
        # Only a shift that explains the picture better is camera motion.
        if small or moved > still + _BETTER:
            return Change(False, x / WIDTH, y / HEIGHT, max(still, moved) if small else moved)
        return Change(False, 0.0, 0.0, max(still, moved))
