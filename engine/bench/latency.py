"""Milliseconds per step on this machine: encode, ring, head, beside the naive recompute and the floor.

The floor is what the hardware cannot beat: reading the weights once from memory, or doing the multiply-adds at the
measured peak, whichever is longer. Machines differ and are shared, so a fixed loop is timed beside everything.
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.backends.choice import open_backend
from engine.backends.protocol import Backend, Features
from engine.backends.runtime import cpu_name, open_artefact
from engine.bench.machine import Speed, speed_of
from engine.bundle.artefact import Artefact
from engine.bundle.engine_directory import EngineDirectory
from engine.spec import ModelSpec
from engine.timing import in_turns, median_ms


def measure(
    path: str | os.PathLike[str],
    backend: str = "auto",
    precision: str | None = None,
    threads: int | None = None,
    batches: Sequence[int] = (1, 2, 4, 8),
    windows: Sequence[int] = (8, 16, 32, 64),
    rounds: int = 20,
) -> dict[str, Any]:
    """Measure one model on one back end.

    Args:
        path: Bundle or engine directory.
        backend: Name, or ``auto``.
        precision: What to compute in.
        threads: CPU threads.
        batches: Faces per step.
        windows: Lengths of the ring, in features; the head's own window stays what the model has.
        rounds: Timed rounds per figure; the median is reported.

    Returns:
        JSON-ready report.

    Raises:
        BundleError: If the model is damaged.
        BackendError: If it cannot run here.
    """
    artefact = open_artefact(path)
    started = time.perf_counter_ns()
    opened = open_backend(artefact, backend, threads, precision)
    open_s = (time.perf_counter_ns() - started) / 1e9
    spec = artefact.spec
    try:
        golden = artefact.golden()
        pool = np.concatenate([golden.crops] * (-(-max(*batches, 16) // len(golden.crops))))
        steps = [_step(opened, spec, pool, batch, rounds) for batch in batches]
        naive = _naive(opened, spec, pool, max(rounds // 4, 3))
        streaming = next(s for s in steps if s["batch"] == min(batches))
        rings = [_ring_step(opened, spec, golden.features, length, rounds) for length in windows]
        bare = _beside_bare(opened, artefact.encoder, pool[:1], threads, rounds)
        speed = speed_of(opened)
        floor = _floor(artefact, opened.precision)
        for step in steps:
            step["floor_ms"] = _floor_ms(floor, int(step["batch"]), speed)
            step["to_floor"] = round(step["encode_ms"] / step["floor_ms"], 2) if step["floor_ms"] else None
        return {
            "model": spec.name,
            "sha256": artefact.sha256,
            "backend": opened.name,
            "precision": opened.precision,
            "device": opened.device,
            "cpu": cpu_name(),
            "reason": opened.reason,
            "open_s": round(open_s, 2),
            "steps": steps,
            "rings": rings,
            "bare": bare,
            "naive_ms": naive,
            "streaming_ms": streaming["step_ms"],
            "times_cheaper": round(naive / streaming["step_ms"], 1),
            "machine": asdict(speed),
            "floor": floor,
        }
    finally:
        opened.close()


def table(report: dict[str, Any]) -> list[str]:
    """The report as lines for people."""
    speed = report["machine"]
    lines = [
        f"{report['model']} on {report['backend']} in {report['precision']}: {report['device']}, {report['cpu']}",
        f"  opened in {report['open_s']} s; calibration loop {speed['calibration_ms']} ms, "
        f"{speed['gflops']} GFLOP/s, {speed['copy_gbs']} GB/s read",
        "  faces  encode ms  ring ms  head ms  step ms   floor ms  encode/floor",
    ]
    for s in report["steps"]:
        lines.append(
            f"  {s['batch']:5d}  {s['encode_ms']:9.3f}  {s['ring_ms']:7.4f}  {s['head_ms']:7.3f}  {s['step_ms']:7.3f}"
            f"  {s['floor_ms'] or float('nan'):9.3f}  {s['to_floor'] or float('nan'):12.2f}"
        )
    if bare := report["bare"]:
        lines.append(
            f"  encoder at batch 1 beside bare OpenVINO on the same graph in {bare['precision']}, taking turns: "
            f"{bare['ours_ms']:.3f} and {bare['bare_ms']:.3f} ms, {bare['ratio']:.3f} times"
        )
    lines.append("  ring length (features)  ring ms  head ms")
    lines += [f"  {r['length']:22d}  {r['ring_ms']:7.4f}  {r['head_ms']:7.3f}" for r in report["rings"]]
    lines.append(
        f"  recomputing the whole window: {report['naive_ms']:.2f} ms, streaming: {report['streaming_ms']:.2f} ms: "
        f"{report['times_cheaper']} times cheaper"
    )
    return lines


def _step(backend: Backend, spec: ModelSpec, pool: NDArray[np.uint8], batch: int, rounds: int) -> dict[str, Any]:
    ring = backend.ring(batch, spec.window)
    crops = np.ascontiguousarray(pool[:batch])
    for slot in range(batch):
        ring.push(slot, np.zeros(spec.feature, np.float32))
    encoded = backend.encode(crops)

    def place(features: Features) -> NDArray[np.int32]:
        for slot in range(batch):
            ring.push(slot, features[slot])
        return np.stack([ring.index(slot, spec.window) for slot in range(batch)])

    index = place(encoded)

    def whole() -> None:
        backend.head(ring.flat, place(backend.encode(crops)))

    return {
        "batch": batch,
        "encode_ms": round(median_ms(lambda: np.asarray(backend.encode(crops)), rounds), 4),
        "ring_ms": round(median_ms(lambda: place(encoded), rounds), 4),
        "head_ms": round(median_ms(lambda: backend.head(ring.flat, index), rounds), 4),
        "step_ms": round(median_ms(whole, rounds), 4),
    }


def _ring_step(
    backend: Backend, spec: ModelSpec, features: NDArray[np.float32], length: int, rounds: int
) -> dict[str, Any]:
    """The cost of a ring of some length: the head's window stays the model's, taken at the stride that fits."""
    length = max(length, spec.window)
    ring = backend.ring(1, length)
    stride = max((length - 1) // max(spec.window - 1, 1), 1) if spec.window > 1 else 1
    for row in range(length):
        ring.push(0, features[row % len(features)])
    newest = features[0]

    def place() -> NDArray[np.int32]:
        ring.push(0, newest)
        return ring.index(0, spec.window, stride)[None]

    index = place()
    return {
        "length": length,
        "ring_ms": round(median_ms(place, rounds), 4),
        "head_ms": round(median_ms(lambda: backend.head(ring.flat, index), rounds), 4),
    }


def _beside_bare(
    backend: Backend, encoder: Path, crops: NDArray[np.uint8], threads: int | None, rounds: int
) -> dict[str, float | str] | None:
    """Our encoder step and bare OpenVINO's in turns, so that what else runs on the machine meets both alike."""
    if backend.name != "openvino":
        return None
    from engine.bench.baseline import openvino_alone

    bare = openvino_alone(encoder, backend.spec, threads, backend.precision)
    times = in_turns({"ours": lambda: backend.encode(crops), "bare": bare.infer}, rounds)
    ours_ms, bare_ms = (float(np.median(times[name])) for name in ("ours", "bare"))
    return {
        "precision": bare.precision,
        "ours_ms": round(ours_ms, 4),
        "bare_ms": round(bare_ms, 4),
        "ratio": round(ours_ms / bare_ms, 4),
    }


def _naive(backend: Backend, spec: ModelSpec, pool: NDArray[np.uint8], rounds: int) -> float:
    """What a step costs without a ring: every unit of the window through the encoder again."""
    crops = np.ascontiguousarray(np.resize(pool, (spec.window, *pool.shape[1:])))
    index = np.arange(spec.window, dtype=np.int32)[None]

    def recompute() -> None:
        backend.head(np.asarray(backend.encode(crops), np.float32), index)

    return round(median_ms(recompute, rounds, 1), 3)


def _floor(artefact: Artefact, precision: str) -> dict[str, float] | None:
    """Weight bytes and multiply-adds of the encoder, or None for a bundle where onnx is not installed."""
    if isinstance(artefact, EngineDirectory):
        cost = dict(artefact.cost)
    else:
        try:
            from engine.graph.cost import encoder_cost
        except ImportError:
            return None
        cost = asdict(encoder_cost(artefact.encoder))
    if not cost:
        return None
    stored = cost["weight_bytes"] * {"fp32": 4, "int8": 1}.get(precision, 2) / 4
    return {"weight_mb": round(stored / 1e6, 2), "gmacs": round(cost["macs"] / 1e9, 4)}


def _floor_ms(floor: dict[str, float] | None, batch: int, speed: Speed) -> float | None:
    if floor is None:
        return None
    memory = floor["weight_mb"] / speed.copy_gbs
    compute = batch * 2 * floor["gmacs"] / speed.gflops * 1e3
    return round(max(memory, compute), 4)
