"""Planes are the RGB picture, whatever is asked of them."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from stream.camera.pixels import CODINGS, Coding, PlanarPixels, RgbPixels, as_pixels, copied

LIMITED = Coding(bt709=False, full=False)


def scene(height: int = 120, width: int = 160) -> NDArray[np.uint8]:
    """A smooth coloured picture: half the resolution of its colour loses nothing."""
    coarse = np.random.default_rng(3).integers(40, 215, (6, 8, 3)).astype(np.uint8)
    return np.asarray(cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC), np.uint8)


def planes_of(image: NDArray[np.uint8], coding: Coding) -> PlanarPixels:
    """Coded by the standards' own equations."""
    red, blue = (0.2126, 0.0722) if coding.bt709 else (0.299, 0.114)
    r, g, b = np.moveaxis(image.astype(np.float64), 2, 0)
    y = red * r + (1 - red - blue) * g + blue * b
    u, v = (b - y) / (2 * (1 - blue)), (r - y) / (2 * (1 - red))
    light, colour, least = (1.0, 1.0, 0) if coding.full else (219 / 255, 224 / 255, 16)
    height, width = y.shape
    edge = ((0, height % 2), (0, width % 2))
    halves = [
        np.pad(p, edge, mode="edge").reshape(-(-height // 2), 2, -(-width // 2), 2).mean((1, 3)) * colour + 128
        for p in (u, v)
    ]
    made = [np.rint(p).clip(0, 255).astype(np.uint8) for p in (y * light + least, *halves)]
    return PlanarPixels(made[0], made[1], made[2], coding)


@pytest.mark.parametrize("coding", CODINGS)
@pytest.mark.parametrize("size", [(120, 160), (121, 161)])
def test_planes_convert_to_the_picture_that_was_coded(coding: Coding, size: tuple[int, int]) -> None:
    image = scene(*size)
    pixels = planes_of(image, coding)
    assert pixels.shape == image.shape
    assert np.abs(pixels.rgb().astype(int) - image).max() <= 6
    factor, offset = pixels.contrast
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY).astype(float)
    if not coding.bt709:
        assert np.abs(pixels.grey(0, 0, size[1], size[0]) * factor + offset - grey).max() <= 2


@pytest.mark.parametrize("border", [cv2.BORDER_CONSTANT, cv2.BORDER_REPLICATE])
@pytest.mark.parametrize("back", [True, False])
def test_what_is_cut_out_of_planes_is_what_is_cut_out_of_the_picture(border: int, back: bool) -> None:
    image = scene()
    turned = np.array([[1.3, 0.4, -12.0], [-0.4, 1.3, 8.0]])
    ours = planes_of(image, LIMITED).warp(turned, (64, 48), border, back)
    theirs = RgbPixels(image).warp(turned, (64, 48), border, back)
    assert ours.shape == theirs.shape == (48, 64, 3)
    difference = np.abs(ours.astype(int) - theirs)
    # At a black border luma and colour end half a pixel of colour apart.
    assert np.percentile(difference, 97) <= 5
    small = planes_of(image, LIMITED).shrunk(11, 20, 141, 110, (26, 18))
    assert np.abs(small.astype(int) - RgbPixels(image).shrunk(11, 20, 141, 110, (26, 18))).max() <= 8


def test_a_thinned_grey_picture_keeps_its_size_and_place() -> None:
    image = scene(121, 161)
    for pixels in (RgbPixels(image), planes_of(image, LIMITED)):
        whole, thin = pixels.grey(0, 0, 161, 121), pixels.grey(0, 0, 161, 121, 4)
        assert thin.shape == (31, 41)
        assert (thin == whole[::4, ::4]).all()


def test_a_copy_is_not_touched_by_what_overwrites_the_original() -> None:
    image = scene()
    for original in (image.copy(), planes_of(image, LIMITED)):
        kept = copied(original)
        before = as_pixels(kept).rgb().copy()
        for plane in original.planes if isinstance(original, PlanarPixels) else (original,):
            plane[:] = 0
        assert (as_pixels(kept).rgb() == before).all()
