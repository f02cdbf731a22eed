"""Logits to probabilities, as measured on held-out faces. NumPy only: this is what the daemon runs.

The order is fixed: logits, plus a person's neutral shift, times a scale per class plus a bias, softmax. Temperature
scaling (Guo et al. 2017, eq. 9) is the case of one scale 1/T and no bias; vector scaling (ibid., section 4.2) has both.
Classwise temperature takes the leading class's scale for all: what is answered stays, how surely depends on it.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from calibration.settings import CalibrationError
from engine.bundle import softmax

FORMAT = "dferstream.calibration"
FORMAT_VERSION = 1
FILE = "calibration.json"
"""Its name in a bundle."""
METHODS = ("none", "temperature", "classwise", "vector")

Floats = npt.NDArray[np.floating]


@dataclass(frozen=True)
class Calibration:
    """How one bundle's logits become probabilities.

    Attributes:
        labels: C class names, the bundle's.
        method: One of :data:`METHODS`.
        scale: (C,) factors on the logits, above 0; with ``classwise`` the leading class's is the factor of all.
        bias: (C,) added after the factor.
        threshold: Confidence under which to abstain, chosen for ``risk``; None for no abstention.
        risk: The share of errors among kept answers that the threshold was chosen for, 0 to 1.
        neutral_logits: (C,) mean logits of held-out neutral faces, the reference of the neutral shift; None if unknown.
        metrics: Measured before and after, cross-fitted, as the report shows them.
        provenance: What it was fitted on: counts, folds, seed, sha256 of the logits.
        now: The same for logits of single samples; None where none were fitted, and the window's serves both.
    """

    labels: tuple[str, ...]
    method: str = "none"
    scale: tuple[float, ...] = ()
    bias: tuple[float, ...] = ()
    threshold: float | None = None
    risk: float | None = None
    neutral_logits: tuple[float, ...] | None = None
    metrics: Mapping[str, Any] = field(default_factory=dict)
    provenance: Mapping[str, Any] = field(default_factory=dict)
    now: Calibration | None = None

    def __post_init__(self) -> None:
        count = len(self.labels)
        object.__setattr__(self, "labels", tuple(self.labels))
        object.__setattr__(self, "scale", _floats("scale", self.scale or [1.0] * count, count))
        object.__setattr__(self, "bias", _floats("bias", self.bias or [0.0] * count, count))
        if self.neutral_logits is not None:
            object.__setattr__(self, "neutral_logits", _floats("neutral_logits", self.neutral_logits, count))
        if self.method not in METHODS:
            raise CalibrationError(f"method must be one of {METHODS}, not {self.method!r}")
        if min(self.scale, default=1.0) <= 0:
            raise CalibrationError("scale must be above 0: a negative one would turn the ranking round")
        for name in ("threshold", "risk"):
            value = getattr(self, name)
            if value is not None and not 0 <= value <= 1:
                raise CalibrationError(f"{name} must be 0..1, not {value}")

    @property
    def name(self) -> str | None:
        """What the message shows: the method, None for plain softmax."""
        return None if self.method == "none" else self.method

    @property
    def of_now(self) -> Calibration:
        """How logits of single samples become probabilities."""
        return self if self.now is None else self.now

    def probs(self, logits: Floats, shift: Floats | None = None) -> npt.NDArray[np.float64]:
        """Calibrated probabilities.

        Args:
            logits: (..., C), any float type.
            shift: (C,) or (..., C), a person's neutral shift, added to the logits first.

        Returns:
            (..., C) float64, each row sums to 1.

        Raises:
            CalibrationError: If the last axis is not C long.
        """
        scores = np.asarray(logits, dtype=np.float64)
        if scores.shape[-1:] != (len(self.labels),):
            raise CalibrationError(f"logits must end in {len(self.labels)} classes, not shape {scores.shape}")
        if shift is not None:
            scores = scores + shift
        scale = np.asarray(self.scale)
        if self.method == "classwise":
            scale = scale[scores.argmax(-1)][..., None]
        return softmax(scores * scale + np.asarray(self.bias))

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready values, format and version included."""
        return {
            "format": FORMAT,
            "format_version": FORMAT_VERSION,
            "labels": list(self.labels),
            "method": self.method,
            "scale": list(self.scale),
            "bias": list(self.bias),
            "threshold": self.threshold,
            "risk": self.risk,
            "neutral_logits": None if self.neutral_logits is None else list(self.neutral_logits),
            "metrics": dict(self.metrics),
            "provenance": dict(self.provenance),
        } | ({} if self.now is None else {"now": self.now.to_dict()})

    def to_json(self) -> bytes:
        """The file ``calibration.json``."""
        return json.dumps(self.to_dict(), indent=2, allow_nan=False).encode() + b"\n"

    @classmethod
    def from_dict(cls, values: Mapping[str, Any], labels: Sequence[str]) -> Calibration:
        """Read :meth:`to_dict`'s values for a bundle of these labels.

        Raises:
            CalibrationError: On a newer format, missing fields, or labels that are not the bundle's in its order.
        """
        said = values.get("format") if isinstance(values, Mapping) else None
        if said != FORMAT:
            raise CalibrationError(f"not a calibration: format is {said!r}, expected {FORMAT!r}")
        version = values.get("format_version")
        if not isinstance(version, int) or version > FORMAT_VERSION:
            raise CalibrationError(f"calibration format {version} is newer than {FORMAT_VERSION}", "update dferstream")
        if values.get("labels") != list(labels):
            raise CalibrationError(
                f"calibration is for classes {values.get('labels')}, the bundle has {list(labels)}",
                "run `dfer-calibrate fit` on this bundle, or `dfer-calibrate remove` it",
            )
        try:
            return cls(
                labels=tuple(labels),
                method=values["method"],
                scale=tuple(values["scale"]),
                bias=tuple(values["bias"]),
                threshold=values.get("threshold"),
                risk=values.get("risk"),
                neutral_logits=None if values.get("neutral_logits") is None else tuple(values["neutral_logits"]),
                metrics=values.get("metrics", {}),
                provenance=values.get("provenance", {}),
                now=None if values.get("now") is None else cls.from_dict({**values["now"], "now": None}, labels),
            )
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise CalibrationError(f"calibration is incomplete or of the wrong type: {error!r}") from error


def load(values: Mapping[str, Any] | None, labels: Sequence[str]) -> Calibration:
    """The calibration of a bundle: what ``Bundle.calibration()`` returns, or plain softmax where that is None."""
    return Calibration(tuple(labels)) if values is None else Calibration.from_dict(values, labels)


def _floats(name: str, values: Sequence[float], count: int) -> tuple[float, ...]:
    numbers = tuple(float(value) for value in values)
    if len(numbers) != count or not all(math.isfinite(number) for number in numbers):
        raise CalibrationError(f"{name} must be {count} finite numbers, not {values}")
    return numbers
