"""What a back end of ours is held against: the bare runtime on the same graph."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import openvino as ov

from engine.backends.cpu_precision import choose_precision
from engine.backends.openvino import precision_hint
from engine.spec import ModelSpec
from engine.timing import Work, times_ms


@dataclass(frozen=True)
class Baseline:
    """A runtime by itself.

    Attributes:
        infer: One inference on fixed crops, to be called again and again.
        precision: What the runtime says it computes in.
    """

    infer: Work
    precision: str


def openvino_alone(
    encoder: Path, spec: ModelSpec, threads: int | None = None, precision: str | None = None
) -> Baseline:
    """OpenVINO alone on an encoder's graph at batch 1, without any code of ours around it.

    A baseline in bf16 says nothing about a back end in FP32, so both compute in the same precision.

    Args:
        encoder: The graph.
        spec: The model's, for the shape of its input.
        threads: CPU threads; OpenVINO's own choice if not given.
        precision: ``fp32``, ``bf16`` or ``int8``; what our back end would choose on this CPU if None.
    """
    options: dict[str, Any] = {"PERFORMANCE_HINT": "LATENCY"}
    if threads is not None:
        options["INFERENCE_NUM_THREADS"] = threads
    if precision is None:
        int8 = encoder.suffix == ".xml"
        precision = "int8" if int8 else choose_precision(encoder.with_name(encoder.name + ".data"), threads)
    options["INFERENCE_PRECISION_HINT"] = precision_hint(precision)
    model = ov.Core().compile_model(str(encoder), "CPU", options)
    size = spec.crop.size_px
    crops = np.random.default_rng(0).integers(0, 256, (1, spec.unit, size, size, 3), dtype=np.uint8)
    request = model.create_infer_request()
    kind = str(model.get_property("INFERENCE_PRECISION_HINT").to_string())
    return Baseline(lambda: request.infer([crops]), kind)


def openvino_alone_ms(
    encoder: Path, spec: ModelSpec, threads: int | None = None, rounds: int = 40, precision: str | None = None
) -> dict[str, float | str]:
    """How long :func:`openvino_alone` takes.

    Args:
        encoder: The graph.
        spec: The model's, for the shape of its input.
        threads: CPU threads; OpenVINO's own choice if not given.
        rounds: Repetitions.
        precision: As for :func:`openvino_alone`.

    Returns:
        ``p50_ms``, ``p99_ms`` and the ``precision`` OpenVINO says it ran in.
    """
    baseline = openvino_alone(encoder, spec, threads, precision)
    times = times_ms(baseline.infer, rounds, 5)
    p50, p99 = np.percentile(times, [50, 99])
    return {"p50_ms": round(float(p50), 3), "p99_ms": round(float(p99), 3), "precision": baseline.precision}
