"""The gate: an engine serves only after it has reproduced the golden vectors on that very device."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.backends.protocol import Backend
from engine.bundle.bundle import Golden
from engine.bundle.golden import softmax
from engine.errors import DferError

MIN_WINDOWS = 200
"""Fewer windows prove nothing about a share of 99 %."""

_BATCHES = (1, 2, 3, 8, 5, 4)


class ParityError(DferError):
    """An engine that does not reproduce its golden vectors, with the figures."""


@dataclass(frozen=True)
class Bounds:
    """How far an engine may be from FP32.

    Attributes:
        max_delta: Largest difference of any probability.
        top1: Smallest share of windows whose most probable class is FP32's.
    """

    max_delta: float = 0.02
    top1: float = 0.99

    def __post_init__(self) -> None:
        if not (0 < self.max_delta <= 1 and 0 <= self.top1 <= 1):
            raise ParityError(f"bounds must be in (0, 1] and [0, 1], not {self.max_delta} and {self.top1}")


@dataclass(frozen=True)
class Parity:
    """How far an engine is from its golden vectors.

    Attributes:
        windows: Windows compared.
        max_delta: Largest difference of any probability.
        mean_delta: Mean over windows of the largest difference.
        top1: Share of windows with FP32's most probable class.
        cosine: Smallest cosine of a feature with FP32's.
        finite: Whether every number was one.
    """

    windows: int
    max_delta: float
    mean_delta: float
    top1: float
    cosine: float
    finite: bool

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready values."""
        return asdict(self)


def compare(backend: Backend, golden: Golden) -> Parity:
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
    found, scores = np.concatenate(features), np.concatenate(logits)
    finite = bool(np.isfinite(found).all() and np.isfinite(scores).all())
    if not finite:
        return Parity(len(scores), 1.0, 1.0, 0.0, -1.0, False)
    probs = softmax(scores)
    delta = np.abs(probs - golden.probs).max(1)
    lengths = np.linalg.norm(found, axis=1) * np.linalg.norm(golden.features, axis=1)
    cosine = (found * golden.features).sum(1) / np.maximum(lengths, 1e-20)
    same = probs.argmax(1) == golden.probs.argmax(1)
    return Parity(len(probs), float(delta.max()), float(delta.mean()), float(same.mean()), float(cosine.min()), True)


def gate(backend: Backend, golden: Golden, bounds: Bounds | None = None) -> Parity:
    """Let a back end pass only if it reproduces the golden vectors.

    Args:
        backend: Open.
        golden: The vectors.
        bounds: How far it may be off; probabilities 0.02 and 99 % equal top-1 if not given.

    Returns:
        The differences.

    Raises:
        ParityError: If a number is none, a bound is broken, or there are too few windows to tell.
    """
    bounds = bounds or Bounds()
    if len(golden.windows) < MIN_WINDOWS:
        raise ParityError(f"{len(golden.windows)} golden windows prove nothing; {MIN_WINDOWS} are needed: export again")
    parity = compare(backend, golden)
    where = f"{backend.name} in {backend.precision} on {backend.device}"
    if not parity.finite:
        raise ParityError(f"{where} gives numbers that are none; build with --precision fp32")
    if parity.max_delta > bounds.max_delta or parity.top1 < bounds.top1:
        raise ParityError(
            f"{where} is too far from FP32: probabilities differ by up to {parity.max_delta:.4f} "
            f"(allowed {bounds.max_delta}), {parity.top1:.1%} of windows keep their class (required "
            f"{bounds.top1:.0%}); "
            "build with a higher --precision, or state other bounds"
        )
    return parity
