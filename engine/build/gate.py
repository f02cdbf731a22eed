"""The gate: an engine serves only after it has reproduced the golden vectors on that very device."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from engine.backends.protocol import Backend
from engine.bundle.golden import Bounds, Golden, Parity, ParityError, compare, probabilities

MIN_WINDOWS = 200
"""Fewer windows prove nothing about a share of 99 %."""

_BATCHES = (1, 2, 3, 8, 5, 4)


def replay(backend: Backend, golden: Golden) -> Parity:
    """Run a back end over the golden vectors, in changing batches, through a ring of its own.

    Args:
        backend: Open.
        golden: Crops, windows and what FP32 made of them.

    Returns:
        The differences.
    """
    ring = backend.ring(1, len(golden.crops))
    features: list[NDArray[np.float32]] = []
    at = 0
    while at < len(golden.crops):
        batch = _BATCHES[len(features) % len(_BATCHES)]
        encoded = backend.encode(golden.crops[at : at + batch])
        for row in range(len(encoded)):
            ring.push(0, encoded[row])
        features.append(np.asarray(encoded, np.float32).copy())
        at += batch
    logits: list[NDArray[np.float32]] = []
    at = 0
    while at < len(golden.windows):
        batch = _BATCHES[len(logits) % len(_BATCHES)]
        # The ring was filled once from its start, so its rows are the golden features' own.
        logits.append(backend.head(ring.flat, golden.windows[at : at + batch]).logits)
        at += batch
    return compare(probabilities(np.concatenate(logits)), golden, np.concatenate(features))


def gate(backend: Backend, golden: Golden, bounds: Bounds | None = None) -> Parity:
    """Let a back end pass only if it reproduces the golden vectors.

    Args:
        backend: Open.
        golden: The vectors.
        bounds: How far it may be off.

    Returns:
        The differences.

    Raises:
        ParityError: If a number is none, a bound is broken, or there are too few windows to tell.
    """
    bounds = bounds or Bounds()
    if len(golden.windows) < MIN_WINDOWS:
        raise ParityError(
            f"{len(golden.windows)} golden windows prove nothing, {MIN_WINDOWS} are needed", "export again"
        )
    parity = replay(backend, golden)
    where = f"{backend.name} in {backend.precision} on {backend.device}"
    if not parity.finite:
        raise ParityError(f"{where} gives numbers that are none", "build with --precision fp32")
    if not bounds.hold(parity):
        raise ParityError(
            f"{where} is too far from FP32: probabilities differ by up to {parity.max_delta:.4f} "
            f"(allowed {bounds.max_delta}), {parity.top1:.1%} of windows keep their class (required {bounds.top1:.0%})",
            "build with a higher --precision, or state other bounds",
        )
    return parity
