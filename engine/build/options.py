"""What a build may be told: one declaration, which the command line and TensorRT's builder read."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from engine.bundle.golden import Bounds
from engine.errors import DferError

PRECISIONS = {
    "tensorrt": ("fp16", "fp32"),
    "torch": ("fp16", "bf16", "fp32"),
    "openvino": ("bf16", "fp32", "int8"),
    "onnxruntime": ("fp32",),
}
"""Precisions each back end builds in, its default first where it is not measured."""


class BuildError(DferError):
    """An engine that cannot be built: says what to do instead."""


@dataclass(frozen=True)
class BuildOptions:
    """What a build may be told.

    Attributes:
        precision: `fp32`, `fp16`, `bf16` or `int8`; unset takes the fastest that passes the gate, or the default.
        bounds: How far from FP32 it may be.
        threads: CPU threads; unset takes all cores.
        crops: For int8: .npz with captured crops under 'crops'.
        workspace_mb: TensorRT: memory cap of a layer, MB.
        faces: TensorRT: most faces in a batch.
        timing_cache: TensorRT: file that makes the next build faster.
        hardware_compatible: TensorRT: also for newer GPUs, see verify --adopt.
        version_compatible: TensorRT: also for later releases, see verify --adopt.
    """

    precision: str | None = None
    bounds: Bounds = field(default_factory=Bounds)
    threads: int | None = None
    crops: Path | None = None
    workspace_mb: int = 1024
    faces: int = 8
    timing_cache: Path | None = None
    hardware_compatible: bool = False
    version_compatible: bool = False

    def __post_init__(self) -> None:
        known = sorted({precision for each in PRECISIONS.values() for precision in each})
        if self.precision is not None and self.precision not in known:
            raise BuildError(f"precision must be one of {', '.join(known)}, not {self.precision!r}")
        for name in ("threads", "workspace_mb", "faces"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise BuildError(f"{name} must be a whole number of at least 1, not {value}")
