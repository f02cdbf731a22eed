from __future__ import annotations

import numpy as np
import pytest

from engine.preprocess import CropError, check_batch, stack_units
from tests.engine.conftest import random_crops
from tests.engine.tiny_models import tiny_spec


def test_units_are_stacked_in_order() -> None:
    spec = tiny_spec(unit=2)
    crops = random_crops(spec, 3)
    stacked = stack_units([[crops[b, 0], crops[b, 1]] for b in range(3)], spec)
    assert stacked.flags.c_contiguous
    assert np.array_equal(stacked, crops)


@pytest.mark.parametrize(
    "units",
    [
        [[np.zeros((32, 32, 3), np.uint8)]],
        [[np.zeros((32, 32, 3), np.uint8), np.zeros((31, 32, 3), np.uint8)]],
        [[np.zeros((32, 32, 3), np.float32)] * 2],
    ],
)
def test_wrong_units_are_refused(units: list[list[np.ndarray]]) -> None:
    with pytest.raises(CropError, match="tiny takes"):
        stack_units(units, tiny_spec(unit=2))


def test_wrong_batches_are_refused() -> None:
    spec = tiny_spec()
    for bad in (np.zeros((1, 2, 32, 32, 3), np.uint8), np.zeros((0, 1, 32, 32, 3), np.uint8)):
        with pytest.raises(CropError, match=r"\(B, 1, 32, 32, 3\)"):
            check_batch(bad, spec)
    with pytest.raises(CropError, match="float32"):
        check_batch(np.zeros((1, 1, 32, 32, 3), np.float32), spec)
