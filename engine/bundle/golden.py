"""Golden vectors: what every device must reproduce before it may serve, and how near it must come. NumPy alone."""

from __future__ import annotations

import zipfile
import zlib
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.bundle.files import BundleError
from engine.errors import DferError

_MOST_BYTES = 1 << 30


@dataclass(frozen=True)
class Golden:
    """Vectors that a correct engine reproduces, made by ONNX Runtime in FP32 from the graphs beside them.

    Attributes:
        crops: ``(n, U, S, S, 3)`` uint8 RGB units.
        features: ``(n, D)`` float32, their features.
        windows: ``(m, W)`` int32, rows of ``features``, oldest first: m windows.
        logits: ``(m, C)`` float32.
        relevance: ``(m, W*U)`` float32, raw.
        probs: ``(m, C)`` float32, softmax of the logits.
        now: ``(m, C)`` float32 logits of the newest sample, or None where the model has none.
    """

    crops: NDArray[np.uint8]
    features: NDArray[np.float32]
    windows: NDArray[np.int32]
    logits: NDArray[np.float32]
    relevance: NDArray[np.float32]
    probs: NDArray[np.float32]
    now: NDArray[np.float32] | None = None

    def save(self, path: Path) -> None:
        """Write the vectors as a NumPy archive (no pickled objects)."""
        arrays: dict[str, Any] = {k: v for k, v in self.__dict__.items() if v is not None}
        np.savez_compressed(path, **arrays)

    @classmethod
    def load(cls, path: Path) -> Golden:
        """Read the vectors back.

        Raises:
            BundleError: If the archive is damaged or an array is missing.
        """
        try:
            with zipfile.ZipFile(path) as members:
                size = sum(member.file_size for member in members.infolist())
            if size > _MOST_BYTES:
                raise ValueError(f"{size} bytes unpacked, at most {_MOST_BYTES} are read")
            with np.load(path, allow_pickle=False) as archive:
                return cls(**{name: archive[name] for name in archive.files})
        except (OSError, ValueError, TypeError, EOFError, MemoryError, zipfile.BadZipFile, zlib.error) as error:
            raise BundleError(f"{path.name} of {path.parent} is damaged ({error})", "copy the bundle again") from error


class ParityError(DferError):
    """An engine that does not reproduce its golden vectors, with the figures."""


@dataclass(frozen=True)
class Bounds:
    """How far an engine may be from FP32.

    Attributes:
        max_delta: Gate: largest difference of a probability, in (0, 1].
        top1: Gate: smallest share of windows whose most probable class is FP32's, in [0, 1].
    """

    max_delta: float = 0.02
    top1: float = 0.99

    def __post_init__(self) -> None:
        if not (0 < self.max_delta <= 1 and 0 <= self.top1 <= 1):
            raise ParityError(f"bounds must be in (0, 1] and [0, 1], not {self.max_delta} and {self.top1}")

    def hold(self, parity: Parity) -> bool:
        """Whether an engine is near enough."""
        return parity.finite and parity.max_delta <= self.max_delta and parity.top1 >= self.top1


@dataclass(frozen=True)
class Parity:
    """How far an engine is from its golden vectors.

    Attributes:
        windows: Windows compared.
        max_delta: Largest difference of any probability.
        mean_delta: Mean over windows of the largest difference.
        top1: Share of windows with FP32's most probable class.
        cosine: Smallest cosine of a feature with FP32's; None where only scores were compared.
        finite: Whether every number was one.
    """

    windows: int
    max_delta: float
    mean_delta: float
    top1: float
    cosine: float | None
    finite: bool

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready values."""
        return asdict(self)


def softmax(logits: NDArray[np.floating]) -> NDArray[np.float64]:
    """Softmax over the last axis in float64.

    Args:
        logits: ``(..., C)``.

    Returns:
        ``(..., C)``, summing to 1.
    """
    scores = np.asarray(logits, np.float64)
    powers = np.exp(scores - scores.max(axis=-1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=-1, keepdims=True))


def probabilities(logits: NDArray[np.floating]) -> NDArray[np.float32]:
    """:func:`softmax` rounded to float32, as golden vectors hold it; not numbers where the logits are none."""
    with np.errstate(invalid="ignore"):
        return softmax(logits).astype(np.float32)


def compare(probs: NDArray[np.float32], golden: Golden, features: NDArray[np.float32] | None = None) -> Parity:
    """Hold what an engine says of the golden windows against FP32.

    Args:
        probs: ``(m, C)`` of the golden windows, in order.
        golden: The vectors.
        features: ``(n, D)`` of the golden crops, if they are to be compared too.
    """
    if not np.isfinite(probs).all() or (features is not None and not np.isfinite(features).all()):
        return Parity(len(probs), 1.0, 1.0, 0.0, -1.0, False)
    delta = np.abs(probs - golden.probs).max(1)
    same = probs.argmax(1) == golden.probs.argmax(1)
    cosine = None
    if features is not None:
        lengths = np.linalg.norm(features, axis=1) * np.linalg.norm(golden.features, axis=1)
        cosine = float(((features * golden.features).sum(1) / np.maximum(lengths, 1e-20)).min())
    return Parity(len(probs), float(delta.max()), float(delta.mean()), float(same.mean()), cosine, True)
