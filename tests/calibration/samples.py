"""Answers whose true probabilities are known."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from engine.bundle import softmax

Sample = tuple[npt.NDArray[np.float64], npt.NDArray[np.int64]]


def sample(seed: int, n: int = 3000, classes: int = 7, sharpness: float = 1.0) -> Sample:
    """Logits whose softmax at temperature `sharpness` is the very distribution the labels were drawn from."""
    rng = np.random.default_rng(seed)
    true = rng.normal(0, 2, (n, classes))
    labels = (softmax(true).cumsum(axis=1) > rng.random((n, 1))).argmax(axis=1)
    return true * sharpness, labels.astype(np.int64)
