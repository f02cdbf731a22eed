"""Golden vectors made: what ONNX Runtime in FP32 answers to crops, and to windows over them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.backends.onnxruntime import session
from engine.bundle.golden import Golden, probabilities
from engine.preprocess import check_batch
from engine.spec import ModelSpec

WINDOWS = 256
"""Windows scored; the gate asks for at least 200."""

_BATCH = 8


def windows(units: int, window: int, count: int = WINDOWS, seed: int = 0) -> NDArray[np.int32]:
    """Windows over a number of units: runs as a clip gives them, windows that are filling, and mixtures.

    Args:
        units: n, units there are.
        window: W.
        count: m, windows wanted.
        seed: Of the draw.

    Returns:
        ``(count, window)`` int32 in [0, n), oldest first.
    """
    rng = np.random.default_rng(seed)
    rows = np.empty((count, window), np.int32)
    for i in range(count):
        newest = int(rng.integers(units))
        if i % 4 == 3:
            rows[i] = rng.integers(units, size=window)
            continue
        have = window if i % 4 < 2 else int(rng.integers(1, window + 1))
        age = np.minimum(np.arange(window - 1, -1, -1), have - 1)
        rows[i] = (newest - age) % units
    return rows


def compute(encoder: Path, head: Path, spec: ModelSpec, crops: NDArray[np.uint8]) -> Golden:
    """Golden vectors of two graphs by ONNX Runtime in FP32.

    Args:
        encoder: ``encoder.onnx``.
        head: ``head.onnx``.
        spec: The model's spec.
        crops: ``(n, U, S, S, 3)`` uint8 RGB units, n of 8 or more.

    Returns:
        The vectors.
    """
    crops = check_batch(crops, spec)
    run = session(encoder)
    parts = [run.run(None, {"crops": crops[i : i + _BATCH]})[0] for i in range(0, len(crops), _BATCH)]
    features = np.concatenate(parts).astype(np.float32)
    index = windows(len(crops), spec.window)
    run = session(head)
    names = [output.name for output in run.get_outputs()]
    outputs: dict[str, list[NDArray[Any]]] = {name: [] for name in names}
    for i in range(0, len(index), _BATCH):
        values = run.run(None, {"ring": features, "index": index[i : i + _BATCH]})
        for name, value in zip(names, values, strict=True):
            outputs[name].append(value)
    joined = {name: np.concatenate(values).astype(np.float32) for name, values in outputs.items()}
    logits = joined["logits"]
    return Golden(crops, features, index, logits, joined["relevance"], probabilities(logits), joined.get("now"))
