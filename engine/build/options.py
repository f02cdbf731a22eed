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
        precision: left out: measured or the default
        bounds: How far from FP32 it may be.
        threads: CPU threads (default: all cores)
        crops: int8: .npz with captured crops under 'crops'
        workspace_mb: tensorrt: memory cap of a layer
        faces: tensorrt: most faces in a batch
        timing_cache: tensorrt: file that makes the next build faster
        hardware_compatible: tensorrt: also for newer GPUs, see verify --adopt
        version_compatible: tensorrt: also for later releases, see verify --adopt
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
