"""OpenVINO: the default on any CPU. Reads the ring in place and computes in bf16 where that is faster."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

import numpy as np
import openvino as ov
from numpy.typing import NDArray

from engine.backends.compiled import compile_graph, core, release_kept
from engine.backends.cpu_precision import choose_precision, is_small
from engine.backends.memory import release_pages
from engine.backends.protocol import BackendError, HeadOutput
from engine.bundle.artefact import Artefact
from engine.preprocess import check_batch
from engine.ring import FeatureRing
from engine.spec import ModelSpec

_HINTS = {"fp32": ov.Type.f32, "bf16": ov.Type.bf16, "int8": ov.Type.f32}
_NAMES = {"f32": "fp32", "bf16": "bf16", "f16": "fp16"}
SLOW_MS = 12.0
"""A unit that takes one thread longer is shared by all cores: a frame at 30 fps should not wait for half its period.
Below, a second thread costs more than it gives: 1.42 to 1.73 CPU ms a unit, 0.33 to 0.52 a score (EPYC, 2026-11-28)."""


def precision_hint(precision: str) -> Any:
    """OpenVINO's hint for a precision of ours.

    Args:
        precision: ``fp32``, ``bf16`` or ``int8``; what INT8 leaves in float is there to be exact, so that is FP32.

    Raises:
        BackendError: If a CPU does not compute in it.
    """
    if precision not in _HINTS:
        raise BackendError(f"OpenVINO computes in fp32, bf16 or int8 on a CPU, not {precision!r}")
    return _HINTS[precision]


class OpenVinoBackend:
    """Runs a bundle's graphs on the CPU.

    The two graphs are compiled for low latency with one stream. Shapes stay dynamic in batch and ring rows,
    so one compiled graph (and one copy of the weights) serves every batch.

    Args:
        model: Bundle or engine directory.
        threads: CPU threads; if not given, one for an encoder that is fast enough with one, else all cores.
        precision: ``fp32`` or ``bf16``; if not given, the faster one on this CPU for a large encoder and FP32
            for a small one.

    Raises:
        BackendError: If a graph cannot be compiled or the precision is unknown.
    """

    name = "openvino"

    def __init__(self, model: Artefact, threads: int | None = None, precision: str | None = None) -> None:
        self.spec = model.spec
        self.reason, self.degraded = "asked for by name", False
        weights = model.encoder.with_name(model.encoder.name + ".data")
        if precision is None:
            precision = choose_precision(weights, threads)
        self._open(model, threads if threads is not None else (1 if is_small(weights) else None), precision)
        if threads is None and is_small(weights) and self._unit_ms() > SLOW_MS:
            self._open(model, None, precision)
        hint = self._encoder.get_property("INFERENCE_PRECISION_HINT")
        self.precision = "int8" if precision == "int8" else _NAMES.get(hint.get_type_name(), str(hint))
        used = self._encoder.get_property("INFERENCE_NUM_THREADS") or threads or os.cpu_count()
        self.device = f"CPU, {used} thread{'s' if used != 1 else ''}"

    def _open(self, model: Artefact, threads: int | None, precision: str) -> None:
        config: dict[str, Any] = {
            "PERFORMANCE_HINT": "LATENCY",
            "NUM_STREAMS": 1,
            # Two engines take turns, never run at once; spinning or pinned threads would fight the rest of a
            # daemon.
            "ENABLE_CPU_PINNING": False,
        }
        if threads is not None:
            config["INFERENCE_NUM_THREADS"] = threads
        # At a temperature of 0.01 a cosine in bf16 moves a logit by 0.4: the head, which is small, stays in
        # FP32.
        head_config = {**config, "INFERENCE_PRECISION_HINT": ov.Type.f32}
        config["INFERENCE_PRECISION_HINT"] = precision_hint(precision)
        small = is_small(model.encoder.with_name(model.encoder.name + ".data"))
        # In bf16 a unit alone costs no more than its share of eight, in a graph of one known shape a third less than in
        # one of any, and a face's features do not depend on who else is there. FP32 is faster in batches.
        self._unit = _unit(model.spec) if small and precision == "bf16" else None
        identity = _identity(model, "encoder") if small else None
        try:
            if self._unit is None:
                self._encoder = compile_graph(lambda: str(model.encoder), identity, config)
            else:
                shape = list(self._unit.shape)
                self._encoder = compile_graph(
                    lambda: _of_shape(model.encoder, shape), identity and f"{identity} {shape}", config
                )
            self._head = compile_graph(lambda: str(model.head), _identity(model, "head"), head_config)
            self._encode_request = self._encoder.create_infer_request()
            if self._unit is not None:
                self._encode_request.set_input_tensor(0, ov.Tensor(self._unit, shared_memory=True))
            self._head_request = self._head.create_infer_request()
        except RuntimeError as error:
            raise BackendError(f"OpenVINO cannot compile {model.path}: {_first_line(error)}") from error
        self._outputs = {name: i for i, port in enumerate(self._head.outputs) for name in port.names}
        self._bound: Any = None
        self._warm_up([file for form in ("*.data", "*.bin") for file in model.path.glob(form)])

    def _unit_ms(self) -> float:
        """The better time of two units on one thread, which is this one: its CPU time, whatever else runs here."""
        spec, times = self.spec, []
        for _ in range(2):
            began = time.thread_time_ns()
            self.encode(_unit(spec))
            times.append(time.thread_time_ns() - began)
        return min(times) / 1e6

    def ring(self, faces: int, length: int) -> FeatureRing:
        """A ring in NumPy memory, which OpenVINO reads in place."""
        return FeatureRing(faces, length, self.spec.feature)

    def encode(self, crops: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Encode ``(B, U, S, S, 3)`` uint8 crops to ``(B, D)`` float32."""
        batch = check_batch(crops, self.spec)
        request = self._encode_request
        if self._unit is not None:
            return self._one_by_one(batch, self._unit)
        try:
            request.set_input_tensor(0, ov.Tensor(batch, shared_memory=True))
            request.infer()
        except RuntimeError as error:
            raise BackendError(f"OpenVINO failed in the encoder: {_first_line(error)}") from error
        return np.array(request.get_output_tensor(0).data, np.float32)

    def _one_by_one(self, batch: NDArray[np.uint8], unit: NDArray[np.uint8]) -> NDArray[np.float32]:
        features = np.empty((len(batch), self.spec.feature), np.float32)
        try:
            for row, each in enumerate(batch):
                unit[0] = each
                self._encode_request.infer()
                features[row] = self._encode_request.get_output_tensor(0).data[0]
        except RuntimeError as error:
            raise BackendError(f"OpenVINO failed in the encoder: {_first_line(error)}") from error
        return features

    def head(self, ring_flat: NDArray[np.float32], index: NDArray[np.int32]) -> HeadOutput:
        """Score windows ``index`` (B, W) int32 of the ring's rows."""
        request = self._head_request
        windows = np.ascontiguousarray(index, np.int32)
        try:
            if self._bound is not ring_flat:
                rows = np.ascontiguousarray(ring_flat, np.float32)
                request.set_tensor("ring", ov.Tensor(rows, shared_memory=True))
                # A ring keeps its address, so binding it once is enough; a converted copy is bound every
                # time.
                self._bound = ring_flat if rows is ring_flat else None
            request.set_tensor("index", ov.Tensor(windows, shared_memory=True))
            request.infer()
        except RuntimeError as error:
            raise BackendError(f"OpenVINO failed in the head: {_first_line(error)}") from error
        return HeadOutput(
            self._output("logits"),
            self._output("relevance"),
            self._output("now") if "now" in self._outputs else None,
        )

    def close(self) -> None:
        """Free both graphs."""
        for name in ("_encode_request", "_head_request", "_encoder", "_head", "_bound"):
            self.__dict__.pop(name, None)

    def _warm_up(self, weights: list[Path]) -> None:
        """Run both graphs once: weights are packed at the first run, and what cannot run fails here, at opening."""
        spec = self.spec
        release_pages(weights)
        self.encode(_unit(spec))
        release_pages(weights)
        ring = np.zeros((spec.window, spec.feature), np.float32)
        self.head(ring, np.zeros((1, spec.window), np.int32))
        release_pages(weights)
        release_kept()

    def _output(self, name: str) -> NDArray[np.float32]:
        return np.array(self._head_request.get_output_tensor(self._outputs[name]).data, np.float32)


def _unit(spec: ModelSpec) -> NDArray[np.uint8]:
    return np.zeros((1, spec.unit, spec.crop.size_px, spec.crop.size_px, 3), np.uint8)


def _of_shape(graph: Path, shape: list[int]) -> Any:
    model = core().read_model(str(graph))
    model.reshape(shape)
    return model


def _identity(model: Artefact, part: str) -> str | None:
    """The hashes of all files of a part, which were verified when the model was opened."""
    files = {name: digest for name, digest in model.files.items() if name.startswith(f"{part}.")}
    return json.dumps(files, sort_keys=True) if model.graph(part).name in files else None


def _first_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__
