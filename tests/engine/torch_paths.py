"""What torch makes of a model on a GPU: CUDA graphs against eager and ``torch.compile``, beside the floor."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch

from engine.backends import open_artefact
from engine.backends.pytorch import TorchBackend
from engine.bench.machine import Speed, gpu_speed
from engine.graph.cost import encoder_cost
from engine.timing import median_ms


def compare_paths(
    path: str | os.PathLike[str],
    batches: Sequence[int] = (1, 8),
    precision: str = "fp16",
    device: str = "cuda",
    compiled: bool = True,
    rounds: int = 50,
) -> list[dict[str, Any]]:
    """Time the encoder's three ways of running and one whole step.

    Args:
        path: A bundle.
        batches: Units per step.
        precision: What to compute in.
        device: Where.
        compiled: Whether to try ``torch.compile`` too.
        rounds: Timed rounds.

    Returns:
        Per batch: ``graph_ms``, ``eager_ms``, ``compile_ms`` (None where it fails), ``step_ms`` (encode, ring and
        head with CUDA graphs), ``floor_ms`` and ``to_floor``.
    """
    artefact = open_artefact(path)
    backend = TorchBackend(artefact, precision=precision, device=device)
    module = backend._encoder.module  # without CUDA graphs
    speed = gpu_speed(Speed(0.0, 0.0, 0.0), precision, device)
    cost = encoder_cost(artefact.encoder)
    weights = cost.weight_bytes * (1.0 if precision == "fp32" else 0.5)
    pool = artefact.golden().crops
    rows = []
    for batch in batches:
        crops = np.ascontiguousarray(np.resize(pool, (batch, *pool.shape[1:])))
        on_device = torch.from_numpy(crops).to(device)
        ring = backend.ring(batch, artefact.spec.window)

        def step(crops: Any = crops, ring: Any = ring, batch: int = batch) -> None:
            features = backend.encode(crops)
            for slot in range(batch):
                ring.push(slot, features[slot])
            backend.head(ring.flat, np.stack([ring.index(s, artefact.spec.window) for s in range(batch)]))

        floor = max(weights / speed.copy_gbs / 1e6, 2 * batch * cost.macs / speed.gflops / 1e6)
        with torch.no_grad():
            graph_ms = median_ms(_waiting(functools.partial(backend.encode, crops), device), rounds)
            eager_ms = median_ms(_waiting(functools.partial(module, on_device), device), rounds)
            compile_ms = _compiled_ms(module, on_device, device, rounds) if compiled else None
        rows.append(
            {
                "batch": batch,
                "graph_ms": round(graph_ms, 4),
                "eager_ms": round(eager_ms, 4),
                "compile_ms": compile_ms,
                "step_ms": round(median_ms(_waiting(step, device), rounds), 4),
                "floor_ms": round(floor, 4),
                "to_floor": round(graph_ms / floor, 2),
                "graph_note": backend.graph_note,
            }
        )
    backend.close()
    return rows


def _compiled_ms(module: Any, crops: torch.Tensor, device: str, rounds: int) -> float | None:
    try:
        fast: Any = torch.compile(module, mode="max-autotune-no-cudagraphs")
        return round(median_ms(_waiting(functools.partial(fast, crops), device), rounds, 3), 4)
    except RuntimeError:
        return None


def _waiting(work: Callable[[], object], device: str) -> Callable[[], None]:
    def run() -> None:
        work()
        if device != "cpu":
            torch.cuda.synchronize()

    return run
