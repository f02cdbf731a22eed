"""ONNX Runtime on the CPU: the fallback, and the FP32 reference that golden vectors are made with."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from engine.backends.protocol import BackendError, HeadOutput
from engine.bundle.artefact import Artefact
from engine.preprocess import check_batch
from engine.ring import FeatureRing


def session(graph: Path, threads: int | None = None) -> Any:
    """Open one graph on the CPU.

    Args:
        graph: Path of an ONNX file.
        threads: CPU threads; all cores if not given.

    Raises:
        BackendError: If ONNX Runtime refuses the graph.
    """
    options = ort.SessionOptions()
    options.log_severity_level = 3
    if threads is not None:
        options.intra_op_num_threads = threads
    # Two sessions take turns with a camera and a tracker: idle threads that spin would take the cores from
    # them.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    try:
        return ort.InferenceSession(str(graph), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # ONNX Runtime raises types of its own without a common base
        raise BackendError(f"ONNX Runtime cannot open {graph.name} of {graph.parent}: {error}") from error


class OnnxRuntimeBackend:
    """Runs a bundle's graphs on the CPU in the precision their types say.

    Args:
        model: Bundle or engine directory.
        threads: CPU threads; all cores if not given.
        precision: ``fp32``, or what the graphs of an engine directory were made in.

    Raises:
        BackendError: If a graph cannot be opened or another precision is asked for.
    """

    name = "onnxruntime"

    def __init__(self, model: Artefact, threads: int | None = None, precision: str | None = None) -> None:
        self.spec = model.spec
        self.reason, self.degraded = "asked for by name", False
        self.precision = precision or "fp32"
        if self.precision not in ("fp32", "int8"):
            raise BackendError(f"ONNX Runtime computes in fp32 or int8 on a CPU, not {precision!r}")
        self.device = f"CPU, {threads or os.cpu_count()} threads"
        self._encoder = session(model.encoder, threads)
        self._head = session(model.head, threads)
        self._outputs = [output.name for output in self._head.get_outputs()]

    def ring(self, faces: int, length: int) -> FeatureRing:
        """A ring in NumPy memory, which ONNX Runtime reads in place."""
        return FeatureRing(faces, length, self.spec.feature)

    def encode(self, crops: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Encode ``(B, U, S, S, 3)`` uint8 crops to ``(B, D)`` float32."""
        batch = check_batch(crops, self.spec)
        return np.asarray(_run(self._encoder, {"crops": batch}, "encoder")[0], np.float32)

    def head(self, ring_flat: NDArray[np.float32], index: NDArray[np.int32]) -> HeadOutput:
        """Score windows ``index`` (B, W) int32 of the ring's rows."""
        feeds = {
            "ring": np.ascontiguousarray(ring_flat, np.float32),
            "index": np.ascontiguousarray(index, np.int32),
        }
        values = dict(zip(self._outputs, _run(self._head, feeds, "head"), strict=True))
        return HeadOutput(values["logits"], values["relevance"], values.get("now"))

    def close(self) -> None:
        """Free both sessions."""
        for name in ("_encoder", "_head"):
            self.__dict__.pop(name, None)


def _run(graph: Any, feeds: dict[str, NDArray[Any]], part: str) -> list[Any]:
    try:
        outputs: list[Any] = graph.run(None, feeds)
    except Exception as error:  # as above
        raise BackendError(f"ONNX Runtime failed in the {part}: {error}") from error
    return outputs
