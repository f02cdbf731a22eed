"""Crops to what the encoder takes: one function for evaluation, golden vectors and the daemon.

Crops travel as bytes; the encoder's graph normalises them itself. :func:`normalise` is what it computes, for
whoever needs it outside a graph and for the test that holds both together.
"""

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


def normalise(crops: NDArray[np.uint8], spec: ModelSpec) -> NDArray[np.float32]:
    """Scale to [0, 1], subtract the mean, divide by the standard deviation.

    Args:
        crops: ``(B, U, S, S, 3)`` uint8 RGB.
        spec: Gives mean and std.

    Returns:
        ``(B, U, 3, S, S)`` float32.
    """
    scaled = check_batch(crops, spec).astype(np.float32) / np.float32(255)
    normal = (scaled - np.asarray(spec.mean, np.float32)) / np.asarray(spec.std, np.float32)
    return np.ascontiguousarray(np.moveaxis(normal, -1, 2), np.float32)
