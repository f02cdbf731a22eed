"""How fast this machine is just now: a fixed loop to hold figures of two days against, peak and bandwidth."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from engine.backends.protocol import Backend
from engine.timing import best_ms, median_ms


@dataclass(frozen=True)
class Speed:
    """What a device reaches.

    Attributes:
        calibration_ms: Of the fixed loop on the CPU.
        gflops: 10⁹ operations per second of a matrix product; a multiplication and an addition are two.
        copy_gbs: 10⁹ bytes of memory read per second.
    """

    calibration_ms: float
    gflops: float
    copy_gbs: float


def speed_of(backend: Backend) -> Speed:
    """Speed of the device a back end runs on, in the precision it computes in."""
    speed = cpu_speed()
    if backend.name == "openvino":
        # A floor from NumPy's FP32 is none for a CPU that does bf16 at twice that rate, or for OpenVINO's own kernels.
        reached = openvino_gflops(backend.precision)
        return replace(speed, gflops=max(reached, speed.gflops) if backend.precision == "fp32" else reached)
    if backend.name in ("torch", "tensorrt") and not backend.device.startswith("CPU"):
        try:
            return gpu_speed(speed, backend.precision)
        except ImportError:  # a device that only runs plans has no torch
            return speed
    return speed


def calibration_loop_ms() -> float:
    """Median time of four products of 768 x 768 in FP32, ms: how fast this machine is just now."""
    rng = np.random.default_rng(0)
    a, b = (rng.standard_normal((768, 768), dtype=np.float32) for _ in range(2))
    return round(median_ms(lambda: [a @ b for _ in range(4)], 15, 0), 2)


def cpu_speed() -> Speed:
    """What the CPU does in NumPy's FP32 on all cores."""
    large = np.random.default_rng(0).random((1024, 1024), np.float32)
    product = best_ms(lambda: large @ large, 7)  # a peak is what was reached once, not what is usual
    # Larger than the caches that a virtual machine may call its own.
    block = np.ones(64 << 20, np.float32)
    read = median_ms(lambda: block.sum(), 5)
    return Speed(calibration_loop_ms(), round(2 * 1024**3 / product / 1e6, 1), round(block.nbytes / read / 1e6, 1))


def openvino_gflops(precision: str) -> float:
    """The most this CPU was seen to do in a matrix product of OpenVINO's, all cores.

    Args:
        precision: ``fp32``, ``bf16`` or ``int8``.

    Returns:
        10⁹ operations per second, a multiplication and an addition being two; best of 12 products of 1024 x 1024.
    """
    import openvino as ov
    from openvino import opset13 as ops

    core, size = ov.Core(), 1024
    rng = np.random.default_rng(0)
    rows = ops.parameter([size, size], np.float32)
    matrix = ops.constant(rng.standard_normal((size, size), dtype=np.float32))
    low, high = (np.array(bound, np.float32) for bound in (-4.0, 4.0))
    factors = [rows, matrix]
    if precision == "int8":
        # OpenVINO computes in eight bits where both factors are quantised.
        factors = [
            ops.fake_quantize(factor, low, high, low, high, levels)
            for factor, levels in zip(factors, (256, 255), strict=True)
        ]
    model = ov.Model([ops.matmul(factors[0], factors[1], False, True)], [rows], "product")
    hint = ov.Type.bf16 if precision == "bf16" else ov.Type.f32
    request = core.compile_model(
        model, "CPU", {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": hint}
    ).create_infer_request()
    x = rng.standard_normal((size, size), dtype=np.float32)
    return round(2 * size**3 / best_ms(lambda: request.infer([x]), 12, 0) / 1e6, 1)


def gpu_speed(cpu: Speed, precision: str, device: str = "cuda") -> Speed:
    """What a GPU does in torch.

    Args:
        cpu: Gives the calibration loop.
        precision: ``fp16``, ``bf16`` or ``fp32``.
        device: Where.

    Raises:
        ImportError: If torch is not installed.
    """
    import torch

    kinds = {"fp16": torch.float16, "bf16": torch.bfloat16, "fp32": torch.float32}
    size, block = (8192, 1 << 30) if device != "cpu" else (512, 1 << 22)
    a = torch.randn(size, size, device=device, dtype=kinds[precision])
    data = torch.ones(block // 4, device=device)

    def waited_ms(work: Callable[[], object]) -> float:
        def run() -> None:
            work()
            if device != "cpu":
                torch.cuda.synchronize()

        return median_ms(run, 7)

    product, read = waited_ms(lambda: a @ a), waited_ms(lambda: data.sum())
    return replace(cpu, gflops=round(2 * size**3 / product / 1e6, 1), copy_gbs=round(block / read / 1e6, 1))
