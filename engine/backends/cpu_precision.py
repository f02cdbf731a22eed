"""Which number format this CPU is fastest in, found out by trying.

OpenVINO takes bf16 wherever the instructions exist. On CPUs with AMX or a full-rate dot product that halves the time;
on others the same instructions run at half rate, and bf16 is the slower and less exact choice. CPU flags do not tell
which: on one Xeon with AVX-512 BF16 and no AMX, ViT-B/32 took 60 ms in bf16 against 50 in FP32 (2026-11-21).
"""

from __future__ import annotations

import functools
from pathlib import Path

import numpy as np
import openvino as ov
from openvino import opset13 as ops

from engine.backends.compiled import core
from engine.timing import Work, in_turns

SMALL_BYTES = 64 * 1024 * 1024
"""Encoders below this stay in FP32: bf16 could save them a millisecond and would cost exactness."""
GAIN = 0.9
"""bf16 is taken only where it needs less than this share of FP32's time."""


def is_small(weights: Path) -> bool:
    """Whether an encoder with this file of weights is small; one that is not there counts as small."""
    return not weights.is_file() or weights.stat().st_size < SMALL_BYTES


def choose_precision(weights: Path, threads: int | None = None) -> str:
    """The format to run an encoder in.

    Args:
        weights: The encoder's file of weights; one that is not there counts as small.
        threads: CPU threads; OpenVINO's own choice if not given.

    Returns:
        ``"fp32"`` or ``"bf16"``.
    """
    if is_small(weights):
        return "fp32"
    times = measure(threads)
    return "bf16" if "bf16" in times and times["bf16"] < GAIN * times["fp32"] else "fp32"


@functools.lru_cache(maxsize=4)
def measure(threads: int | None = None) -> dict[str, float]:
    """Best time of one layer of a ViT-B MLP (64 tokens, 768 → 3072) by format, ms; takes about 50 ms.

    Args:
        threads: CPU threads; OpenVINO's own choice if not given.

    Returns:
        Milliseconds by format; bf16 only where this CPU has it.
    """
    openvino = core()
    hints = {"fp32": ov.Type.f32}
    if "BF16" in openvino.get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
        hints["bf16"] = ov.Type.bf16
    rng = np.random.default_rng(0)
    tokens = ops.parameter([64, 768], np.float32)
    matrix = ops.constant(rng.standard_normal((3072, 768), dtype=np.float32))
    x = rng.standard_normal((64, 768), dtype=np.float32)
    model = ov.Model([ops.matmul(tokens, matrix, False, True)], [tokens], "layer")
    works: dict[str, Work] = {}
    for name, hint in hints.items():
        config = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": hint}
        if threads is not None:
            config["INFERENCE_NUM_THREADS"] = threads
        works[name] = functools.partial(openvino.compile_model(model, "CPU", config).create_infer_request().infer, [x])
    return {name: min(times) for name, times in in_turns(works, 10, 0).items()}
