"""What a build may be told: one declaration, which the command line and TensorRT's builder read."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from engine.bundle.golden import Bounds
from engine.errors import DferError

PRECISIONS = {
    "tensorrt": ("fp16", "fp32"),
    "torch": ("fp16", "bf16", "fp32"),
    "openvino": ("bf16", "fp32", "int8"),
    "onnxruntime": ("fp32",),
}
"""Precisions each back end builds in, its default first where it is not measured."""


Precision = Literal["fp32", "fp16", "bf16", "int8"]
"""In the daemon's order: Python keeps one optional type for equal choices, and with it the first one's order."""


class BuildError(DferError):
    """An engine that cannot be built: says what to do instead."""


@dataclass(frozen=True)
class BuildOptions:
    """What a build may be told.

    Attributes:
        precision: unset: the fastest that passes, or the back end's default.
        bounds: How far from FP32 it may be.
        threads: CPU threads; unset: all cores.
        crops: int8: .npz with captured crops under 'crops'; unset: the bundle's golden crops.
        workspace_mb: tensorrt: most memory that a layer may borrow, MiB.
        faces: tensorrt: most faces in a batch.
        timing_cache: tensorrt: file that makes the next build faster.
        hardware_compatible: tensorrt: also for newer GPUs, see verify --adopt.
        version_compatible: tensorrt: also for later releases, see verify --adopt.
    """

    precision: Precision | None = None
    bounds: Bounds = field(default_factory=Bounds)
    threads: int | None = None
    crops: Path | None = None
    workspace_mb: int = 1024
    faces: int = 8
    timing_cache: Path | None = None
    hardware_compatible: bool = False
    version_compatible: bool = False

    def __post_init__(self) -> None:
        for name in ("threads", "workspace_mb", "faces"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise BuildError(f"{name} must be a whole number of at least 1, not {value}")
