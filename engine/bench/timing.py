"""What a figure is held against: a fixed piece of work, and the bare runtime on the same graph."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from engine.spec import ModelSpec


def calibration_loop_ms(rounds: int = 15) -> float:
    """Median time of a fixed matrix product on one fixed input, ms: how fast this machine is just now.

    Args:
        rounds: Repetitions; the median is taken.
    """
    rng = np.random.default_rng(0)
    a, b = (rng.standard_normal((768, 768), dtype=np.float32) for _ in range(2))
    times = []
    for _ in range(rounds):
        started = time.perf_counter_ns()
        for _ in range(4):
            a @ b
        times.append((time.perf_counter_ns() - started) / 1e6)
    return round(float(np.median(times)), 2)


def bare_openvino(
    encoder: Path, spec: ModelSpec, threads: int | None = None, precision: str | None = None
) -> tuple[Callable[[], object], str]:
    """OpenVINO alone on an encoder's graph at batch 1, without any code of ours around it.

    A yardstick in bf16 says nothing about a back end in FP32, so both compute in the same precision.

    Args:
        encoder: The graph.
        spec: The model's, for the shape of its input.
        threads: CPU threads; OpenVINO's own choice if not given.
        precision: ``fp32``, ``bf16`` or ``int8``; what our back end would choose on this CPU if None.

    Returns:
        One inference on fixed crops, to be called again and again, and the precision OpenVINO says it runs in.
    """
    import openvino

    from engine.backends.cpu_precision import choose_precision
    from engine.backends.openvino import precision_hint

    options: dict[str, Any] = {"PERFORMANCE_HINT": "LATENCY"}
    if threads is not None:
        options["INFERENCE_NUM_THREADS"] = threads
    if precision is None:
        int8 = encoder.suffix == ".xml"
        precision = "int8" if int8 else choose_precision(encoder.with_name(encoder.name + ".data"), threads)
    options["INFERENCE_PRECISION_HINT"] = precision_hint(precision)
    model = openvino.Core().compile_model(str(encoder), "CPU", options)
    size = spec.crop.size_px
    crops = np.random.default_rng(0).integers(0, 256, (1, spec.unit, size, size, 3), dtype=np.uint8)
    request = model.create_infer_request()
    kind = str(model.get_property("INFERENCE_PRECISION_HINT").to_string())
    return lambda: request.infer([crops]), kind


def bare_openvino_ms(
    encoder: Path, spec: ModelSpec, threads: int | None = None, rounds: int = 40, precision: str | None = None
) -> dict[str, float | str]:
    """How long :func:`bare_openvino` takes.

    Args:
        encoder: The graph.
        spec: The model's, for the shape of its input.
        threads: CPU threads; OpenVINO's own choice if not given.
        rounds: Repetitions.
        precision: As for :func:`bare_openvino`.

    Returns:
        ``p50_ms``, ``p99_ms`` and the ``precision`` OpenVINO says it ran in.
    """
    infer, kind = bare_openvino(encoder, spec, threads, precision)
    times = []
    for _ in range(rounds + 5):
        started = time.perf_counter_ns()
        infer()
        times.append((time.perf_counter_ns() - started) / 1e6)
    p50, p99 = np.percentile(times[5:], [50, 99])
    return {"p50_ms": round(float(p50), 3), "p99_ms": round(float(p99), 3), "precision": kind}
