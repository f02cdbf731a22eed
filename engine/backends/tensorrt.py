"""TensorRT, 10.3 (JetPack 6) through 11.4, running plans; :mod:`engine.build.tensorrt_plans` builds them.

Only names that both ends of that range have are used; precision comes from the graph's own types ("strongly typed"),
since 11 has no precision flags. Its calls answer None or False rather than raise, so each answer is checked and the
parser's and logger's lines are passed on.
"""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

import numpy as np
import tensorrt as trt
from numpy.typing import NDArray

from engine.backends.cuda import Cuda, CudaStorage, DeviceRows, load_runtime
from engine.backends.protocol import BackendError, HeadOutput
from engine.bundle.artefact import Artefact
from engine.preprocess import check_batch
from engine.ring import FeatureRing


def runtime_facts() -> dict[str, str]:
    """Version, GPU and compute capability a plan depends on."""
    runtime = load_runtime()
    cuda = Cuda(runtime)
    try:
        properties = cuda.properties()
        return {
            "tensorrt": str(trt.__version__),
            "gpu": properties.name,
            "compute_capability": properties.compute_capability,
        }
    finally:
        cuda.close()


class Log(trt.ILogger):  # type: ignore[misc]
    """Keeps TensorRT's warnings and errors, to be passed on with whatever fails."""

    def __init__(self) -> None:
        trt.ILogger.__init__(self)
        self.lines: list[str] = []

    def log(self, severity: Any, message: str) -> None:
        """Called by TensorRT."""
        if severity in (trt.ILogger.INTERNAL_ERROR, trt.ILogger.ERROR, trt.ILogger.WARNING):
            self.lines = [*self.lines[-20:], message]

    def reason(self) -> str:
        """The last lines in brackets, to end a message with."""
        return f" ({' | '.join(self.lines[-3:])})" if self.lines else ""


def require(thing: Any, what: str, log: Log) -> Any:
    """What a call answered.

    Raises:
        BackendError: If it answered None.
    """
    if thing is None:
        raise BackendError(f"TensorRT's {what} gave nothing{log.reason()}")
    return thing


def check(done: Any, what: str, log: Log) -> None:
    """Make sure that a call succeeded.

    Raises:
        BackendError: If it answered None or False.
    """
    if done is None or done is False:
        raise BackendError(f"TensorRT's {what} failed{log.reason()}")


class _Plan:
    """One deserialised plan with its context and the addresses it works on."""

    def __init__(self, runtime: Any, path: Path, log: Log, cuda: Cuda) -> None:
        self.part, self._log, self._cuda = path.stem, log, cuda
        self.engine = require(runtime.deserialize_cuda_engine(path.read_bytes()), f"reading of {path.name}", log)
        self.context = require(self.engine.create_execution_context(), "create_execution_context", log)
        self.names = [self.engine.get_tensor_name(i) for i in range(self.engine.num_io_tensors)]
        self._graphs: dict[Any, Any] = {}
        self.graph_note: str | None = None

    def dtype(self, name: str) -> np.dtype[Any]:
        kind: np.dtype[Any] = np.dtype(trt.nptype(self.engine.get_tensor_dtype(name)))
        return kind

    def largest(self, name: str) -> tuple[int, ...]:
        return tuple(self.engine.get_tensor_profile_shape(name, 0)[2])

    def run(self, shapes: dict[str, tuple[int, ...]], addresses: dict[str, int]) -> None:
        """Enqueue one run: as a CUDA graph where these shapes and addresses were captured, plainly otherwise."""
        key = (tuple(shapes.items()), tuple(addresses.items()))
        graph = self._graphs.get(key)
        if graph is not None:
            self._cuda.launch(graph)
            return
        for name, shape in shapes.items():
            check(self.context.set_input_shape(name, shape), f"set_input_shape({name}, {shape})", self._log)
        for name, address in addresses.items():
            check(self.context.set_tensor_address(name, address), f"set_tensor_address({name})", self._log)
        missing = self.context.infer_shapes()
        if missing:
            raise BackendError(f"TensorRT misses the shapes of {', '.join(missing)}{self._log.reason()}")
        # The first run with new shapes may allocate, which a capture forbids; its results count.
        self._enqueue()
        if self.graph_note is None:
            self._cuda.synchronise()
            try:
                self._graphs[key] = self._cuda.capture(self._enqueue)
            except BackendError as error:
                self.graph_note = f"without CUDA graphs: {error}"

    def _enqueue(self) -> None:
        done = self.context.execute_async_v3(int(self._cuda.stream))
        check(done, f"execute_async_v3 of the {self.part}", self._log)


class TensorRtBackend:
    """Runs an engine directory's plans; features never leave the GPU between encoder and head.

    One upload (crops as bytes) and one download (scores) per step. Encoder output, index and scores have
    fixed buffers; a CUDA graph per batch size replays the launches, with the plain path where capture fails.

    Args:
        model: An engine directory; its hashes and device were checked when it was opened.
        threads: Not used.
        precision: Stated by the engine directory.
        device: CUDA ordinal.

    Raises:
        BackendError: If there are no plans, or TensorRT or CUDA refuses; nothing stays allocated.
    """

    name = "tensorrt"

    def __init__(
        self, model: Artefact, threads: int | None = None, precision: str | None = None, device: int = 0
    ) -> None:
        self.spec = model.spec
        self.reason, self.degraded = "asked for by name", False
        self.precision = precision or "fp16"
        self._overflow: tuple[int, int] = (0, 0)  # address and bytes, for batches larger than the plan's
        self._uploaded: DeviceRows | None = None
        if model.encoder.suffix != ".plan":
            raise BackendError(
                f"{model.path} holds no TensorRT plans", f"dfer-engine build {model.path} OUT --backend tensorrt"
            )
        log = Log()
        self._cuda = Cuda(load_runtime(), device)  # the right device is current before anything is deserialised
        with contextlib.ExitStack() as on_failure:
            on_failure.callback(self.close)
            self._runtime = require(trt.Runtime(log), "Runtime", log)
            # A version-compatible plan brings its own lean runtime; its hash was checked against the manifest.
            self._runtime.engine_host_code_allowed = True
            self._encoder = _Plan(self._runtime, model.encoder, log, self._cuda)
            self._head = _Plan(self._runtime, model.head, log, self._cuda)
            self._allocate()
            self.device = f"{self._cuda.properties().name}, TensorRT {trt.__version__}"
            on_failure.pop_all()

    @property
    def graph_note(self) -> str | None:
        """Why CUDA graphs are not used, or None where they are."""
        return self._encoder.graph_note or self._head.graph_note

    def ring(self, faces: int, length: int) -> FeatureRing:
        """A ring in device memory."""
        rows, limit = faces * length, self._head.largest("ring")[0]
        if rows > limit:
            raise BackendError(f"the plan takes rings of up to {limit} features, not {rows}", "build with more --faces")
        storage = CudaStorage(self._cuda, rows, self.spec.feature, self._feature_type)
        return FeatureRing(faces, length, self.spec.feature, self._feature_type, storage)

    def encode(self, crops: NDArray[np.uint8]) -> DeviceRows:
        """Encode ``(B, U, S, S, 3)`` uint8 crops to B rows on the device."""
        batch = check_batch(crops, self.spec)
        gathered = DeviceRows(self._cuda, self._features, len(batch), self.spec.feature, self._feature_type)
        if len(batch) > self._most:
            size = len(batch) * gathered.row_bytes
            if size > self._overflow[1]:
                self._overflow = (self._cuda.allocate(size), size)
            gathered.address = self._overflow[0]
        for at in range(0, len(batch), self._most):
            part = batch[at : at + self._most]
            self._cuda.synchronise()  # the upload before may still read the page-locked buffer
            self._host_crops[: len(part)] = part
            self._cuda.upload(self._crops, self._host_crops[: len(part)])
            self._encoder.run({"crops": part.shape}, {"crops": self._crops, "features": self._features})
            if gathered.address != self._features:
                row = gathered.address + at * gathered.row_bytes
                self._cuda.move(row, self._features, len(part) * gathered.row_bytes)
        return gathered

    def head(self, ring_flat: Any, index: NDArray[np.int32]) -> HeadOutput:
        """Score windows ``index`` (B, W) int32 of a ring that :meth:`ring` require, or of a host array."""
        rows = ring_flat if isinstance(ring_flat, DeviceRows) else self._from_host(ring_flat)
        parts: list[dict[str, NDArray[np.float32]]] = []
        for at in range(0, len(index), self._most):
            windows = index[at : at + self._most]
            count = len(windows)
            self._host_index[:count] = windows
            self._cuda.upload(self._index, self._host_index[:count])
            shapes: dict[str, tuple[int, ...]] = {"ring": (rows.rows, rows.width), "index": (count, self.spec.window)}
            self._head.run(shapes, {"ring": rows.address, "index": self._index, **self._scores})
            for name, host in self._host_scores.items():
                self._cuda.download(host[:count], self._scores[name])
            self._cuda.synchronise()
            parts.append({name: host[:count].astype(np.float32) for name, host in self._host_scores.items()})
        joined = {name: np.concatenate([part[name] for part in parts]) for name in self._scores}
        return HeadOutput(joined["logits"], joined["relevance"], joined.get("now"))

    def close(self) -> None:
        """Free contexts before engines, engines before the runtime, then all device memory."""
        for name in ("_encoder", "_head"):
            plan = self.__dict__.pop(name, None)
            if plan is not None:
                del plan.context, plan.engine
        self.__dict__.pop("_runtime", None)
        self._cuda.close()

    def _allocate(self) -> None:
        spec, cuda = self.spec, self._cuda
        self._most = min(self._encoder.largest("crops")[0], self._head.largest("index")[0])
        self._feature_type = self._encoder.dtype("features")
        size = spec.crop.size_px
        self._host_crops = cuda.pinned((self._most, spec.unit, size, size, 3), np.uint8)
        self._crops = cuda.allocate(self._host_crops.nbytes)
        self._features = cuda.allocate(self._most * spec.feature * self._feature_type.itemsize)
        self._host_index = cuda.pinned((self._most, spec.window), np.int32)
        self._index = cuda.allocate(self._host_index.nbytes)
        widths = {"logits": len(spec.labels), "relevance": spec.samples, "now": len(spec.labels)}
        names = [name for name in widths if name in self._head.names]
        self._host_scores = {n: cuda.pinned((self._most, widths[n]), self._head.dtype(n)) for n in names}
        self._scores = {name: cuda.allocate(host.nbytes) for name, host in self._host_scores.items()}

    def _from_host(self, array: NDArray[np.floating]) -> DeviceRows:
        """A host array on the device: for checks, where features come from elsewhere."""
        host = np.ascontiguousarray(array, self._feature_type)
        if self._uploaded is None or self._uploaded.rows < len(host):
            address = self._cuda.allocate(host.nbytes)
            self._uploaded = DeviceRows(self._cuda, address, len(host), host.shape[1], self._feature_type)
        self._cuda.upload(self._uploaded.address, host)
        self._cuda.synchronise()
        return DeviceRows(self._cuda, self._uploaded.address, len(host), host.shape[1], self._feature_type)
