"""What every back end does: encode units, score windows, own a ring of the right memory."""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from engine.errors import DferError
from engine.ring import FeatureRing
from engine.spec import ModelSpec


class BackendError(DferError):
    """A back end that cannot be opened or has failed: the message says which, why and what to do."""


class HeadOutput(NamedTuple):
    """What the head says of B windows.

    Attributes:
        logits: ``(B, C)`` float32, the temperature of the model applied, before any calibration.
        relevance: ``(B, W*U)`` float32, raw, oldest sample first; normalise to sum 1 before showing it.
        now: ``(B, C)`` float32 logits of the newest sample alone, or None where the model has none.
    """

    logits: NDArray[np.float32]
    relevance: NDArray[np.float32]
    now: NDArray[np.float32] | None


class Features(Protocol):
    """B features as ``encode`` gives them: a NumPy array, or rows on a device.

    Rows may be pushed into a ring of the same back end; ``np.asarray`` brings them to the host. They are
    valid until the next ``encode``.
    """

    def __len__(self) -> int:
        """B."""

    def __getitem__(self, row: int) -> Any:
        """One feature, ``(D,)``."""

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[np.float32]:
        """``(B, D)`` on the host."""


class Backend(Protocol):
    """Runs one model on one device. Used by one thread at a time.

    Attributes:
        name: ``openvino``, ``onnxruntime``, ``tensorrt`` or ``torch``.
        precision: What it computes in: ``fp32``, ``bf16``, ``fp16`` or ``int8``.
        device: The device in words.
        spec: The model's spec.
        reason: Why this back end was chosen, in one line; what was tried before it and failed included.
        degraded: True if a better back end was there and failed.
    """

    name: str
    precision: str
    device: str
    spec: ModelSpec
    reason: str
    degraded: bool

    def ring(self, faces: int, length: int) -> FeatureRing:
        """A ring in this back end's memory.

        Args:
            faces: F, slots.
            length: Features kept per slot.
        """

    def encode(self, crops: NDArray[np.uint8]) -> Features:
        """Encode units of crops.

        Args:
            crops: ``(B, U, S, S, 3)`` uint8 RGB.

        Returns:
            ``(B, D)`` features, valid until the next call.

        Raises:
            CropError: If the crops do not fit the model.
            BackendError: If the device fails.
        """

    def head(self, ring_flat: Any, index: NDArray[np.int32]) -> HeadOutput:
        """Score B windows.

        Args:
            ring_flat: ``FeatureRing.flat`` of a ring that :meth:`ring` made, or any ``(R, D)`` float32 array.
            index: ``(B, W)`` int32, rows of the ring, oldest first.

        Raises:
            BackendError: If the device fails.
        """

    def close(self) -> None:
        """Free the device. Calling it twice is harmless."""
