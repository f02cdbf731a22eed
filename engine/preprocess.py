"""Crops to what the encoder takes: bytes, which its graph normalises itself."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from engine.errors import DferError
from engine.spec import ModelSpec


class CropError(DferError):
    """Crops that do not fit the model: the message says which shape and dtype it takes."""


def stack_units(units: Sequence[Sequence[NDArray[np.uint8]]], spec: ModelSpec) -> NDArray[np.uint8]:
    """Stack the crops of several units into one batch.

    Args:
        units: B units of U crops each, ``(S, S, 3)`` uint8 RGB, oldest first.
        spec: Of the model that will encode them.

    Returns:
        ``(B, U, S, S, 3)`` uint8, contiguous.

    Raises:
        CropError: If a unit has another number of crops, or a crop another shape or dtype.
    """
    size = spec.crop.size_px
    batch = np.empty((len(units), spec.unit, size, size, 3), np.uint8)
    for b, unit in enumerate(units):
        if len(unit) != spec.unit:
            raise CropError(f"{spec.name} takes units of {spec.unit} crops, not {len(unit)}")
        for u, crop in enumerate(unit):
            if crop.shape != (size, size, 3) or crop.dtype != np.uint8:
                raise CropError(
                    f"{spec.name} takes crops of shape ({size}, {size}, 3) in uint8, not {crop.shape} in {crop.dtype}"
                )
            batch[b, u] = crop
    return batch


def check_batch(crops: NDArray[np.uint8], spec: ModelSpec) -> NDArray[np.uint8]:
    """Validate a batch of units.

    Args:
        crops: ``(B, U, S, S, 3)`` uint8 RGB.
        spec: Of the model that will encode them.

    Returns:
        The same batch, contiguous.

    Raises:
        CropError: If shape or dtype is another.
    """
    expected = (spec.unit, spec.crop.size_px, spec.crop.size_px, 3)
    if crops.ndim != 5 or crops.shape[1:] != expected or not len(crops) or crops.dtype != np.uint8:
        shape = ", ".join(map(str, expected))
        raise CropError(f"{spec.name} takes crops of shape (B, {shape}) in uint8, not {crops.shape} in {crops.dtype}")
    return np.ascontiguousarray(crops)
