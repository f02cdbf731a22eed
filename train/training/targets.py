"""What a training run aims at and how often it draws each still."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def sampling_weights(
    targets: NDArray[np.float32],
    power: float,
    original: NDArray[np.int64] | None = None,
    original_share: float = 0.0,
    certain: NDArray[np.float32] | None = None,
) -> NDArray[np.float64]:
    """Weight of each still: the rarity of the classes that its votes name.

    Args:
        targets: ``(N, C)`` soft targets.
        power: 0 to 1.
        original: ``(N,)`` class of another labelling, which counts with ``original_share`` beside the targets.
        original_share: 0 to 1.
        certain: ``(N,)`` factor on each weight, such as the share of votes that named an emotion at all.

    Returns:
        ``(N,)`` weights of mean 1.
    """
    rarity = (targets.mean(0).max() / np.maximum(targets.mean(0), 1e-9)) ** power
    named = targets.astype(np.float64)
    if original is not None:
        named = named * (1 - original_share) + np.eye(targets.shape[1])[original] * original_share
    weights = named @ rarity
    if certain is not None:
        weights = weights * certain
    return np.asarray(weights / weights.mean(), np.float64)


def without_slips(votes: NDArray[np.float32], slips: int) -> NDArray[np.float32]:
    """Votes without the classes that hardly anyone named; a still that would lose all its votes keeps them.

    Args:
        votes: ``(N, C)`` counts.
        slips: Counts up to this one are dropped; 0 drops none.

    Returns:
        ``(N, C)`` counts.
    """
    kept = np.where(votes <= slips, 0, votes)
    return np.asarray(np.where(kept.sum(1, keepdims=True) > 0, kept, votes), np.float32)
