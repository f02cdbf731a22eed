"""Which frames of a clip a window is made of.

Indices follow `models.md`'s rules (those of DFER-CLIP's public code); a clip too short is filled at the front with its
oldest unit, as the daemon fills a window, and under the name `paper-protocol` at the end with its last frame.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Indices = NDArray[np.int64]

PADDINGS = ("oldest-first", "paper-protocol")


def random_indices(
    frames: int, unit: int, window: int, rng: np.random.Generator, padding: str = "oldest-first"
) -> Indices:
    """Frame i is drawn from the i-th of T equal segments: ``i * (n // T) + randint(n // T)``.

    Args:
        frames: n, frames of the clip, at least 1.
        unit: U, frames per unit.
        window: W, units per window; T = U * W.
        rng: Where the draw comes from.
        padding: One of :data:`PADDINGS`, for clips of fewer than T frames.

    Returns:
        ``(T,)`` int64 in [0, n), never descending.

    Raises:
        ValueError: If the clip has no frame or the padding is unknown.
    """
    samples = unit * window
    segment = frames // samples
    if segment == 0:
        return short_indices(frames, unit, window, padding)
    return np.asarray(np.arange(samples) * segment + rng.integers(0, segment, samples), np.int64)


def centre_indices(frames: int, unit: int, window: int, padding: str = "oldest-first") -> Indices:
    """The middle of each of T equal segments: ``floor(tick / 2 + tick * i)``, tick = n / T.

    Args and errors are those of :func:`random_indices`.

    Returns:
        ``(T,)`` int64 in [0, n), never descending.
    """
    samples = unit * window
    if frames < samples:
        return short_indices(frames, unit, window, padding)
    tick = frames / samples
    return np.asarray(np.floor(tick / 2 + tick * np.arange(samples)), np.int64)


def short_indices(frames: int, unit: int, window: int, padding: str = "oldest-first") -> Indices:
    """All frames of a clip shorter than the window, filled up to T.

    ``oldest-first``: a partial first unit repeats the first frame at its front, then the first unit is repeated at the
    front of the window. ``paper-protocol``: the last frame is repeated at the end.

    Returns:
        ``(T,)`` int64 in [0, n), never descending under ``paper-protocol``.
    """
    if frames < 1:
        raise ValueError("a clip without frames has no indices")
    if padding not in PADDINGS:
        raise ValueError(f"padding must be one of {', '.join(PADDINGS)}, not {padding!r}")
    samples = unit * window
    all_frames = np.arange(min(frames, samples), dtype=np.int64)
    if padding == "paper-protocol":
        return np.asarray(np.minimum(np.arange(samples), all_frames[-1]), np.int64)
    lead = -len(all_frames) % unit
    whole = np.concatenate([np.zeros(lead, np.int64), all_frames])
    return fill_front(whole, unit, window)


def fill_front(indices: Indices, unit: int, window: int) -> Indices:
    """Fill a window that has fewer than W whole units with its first unit, at the front.

    Args:
        indices: ``(k * U,)`` frame indices, 1 <= k <= W.
        unit: U.
        window: W.

    Returns:
        ``(W * U,)`` indices.
    """
    missing = window - len(indices) // unit
    return np.concatenate([np.tile(indices[:unit], missing), indices])


def prefix(indices: Indices, unit: int, window: int, rng: np.random.Generator) -> Indices:
    """Keep a random number of leading units and fill the front: a window the daemon has only begun to fill.

    Args:
        indices: ``(W * U,)`` of a full window.
        unit: U.
        window: W.
        rng: Where the draw comes from.

    Returns:
        ``(W * U,)`` indices of 1 to W - 1 leading units (all of them where W = 1).
    """
    if window == 1:
        return indices
    kept = int(rng.integers(1, window))
    return fill_front(indices[: kept * unit], unit, window)
