"""Pictures at their own times in a video of one rate, and of one size."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from stream.show.overlay.pace import fitted, paced


def shades(times_s: list[float], fps: float) -> list[int]:
    pictures = ((round(t * 1e9), np.full((6, 8, 3), n, np.uint8)) for n, t in enumerate(times_s))
    return [int(picture[0, 0, 0]) for picture in paced(pictures, fps)]


@pytest.mark.parametrize("fps", [25.0, 30000 / 1001, 12.5])
def test_a_constant_rate_is_left_alone(fps: float) -> None:
    times = [round(n / fps, 3) for n in range(60)]
    assert shades(times, fps) == list(range(60))


def test_a_gap_is_filled_and_a_crowd_thinned_so_that_times_stay() -> None:
    assert shades([0, 0.1, 0.4, 0.5], 10) == [0, 1, 1, 1, 2, 3]
    assert shades([0, 0.02, 0.1, 0.12, 0.2], 10) == [1, 3, 4]
    assert shades([], 10) == []


@pytest.mark.parametrize("shape", [(12, 16), (3, 4), (6, 2), (1, 40)])
def test_another_size_is_fitted_with_its_shape(shape: tuple[int, int]) -> None:
    first: NDArray[np.uint8] = np.zeros((6, 8, 3), np.uint8)
    *_, last = paced([(0, first), (10**9, np.full((*shape, 3), 200, np.uint8))], 1.0)
    assert last.shape == (6, 8, 3)
    rows, columns = (last > 0).any((1, 2)).sum(), (last > 0).any((0, 2)).sum()
    scale = min(6 / shape[0], 8 / shape[1])
    assert (rows, columns) == (max(1, round(shape[0] * scale)), round(shape[1] * scale))
    assert fitted(first, 6, 8) is first
