"""PyTorch with CUDA graphs: for desktops that have torch but no TensorRT. Runs the bundle's own graphs."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from engine.backends.protocol import BackendError, HeadOutput
from engine.backends.torch_graph import OnnxModule
from engine.bundle.artefact import Artefact
from engine.graph import convert
from engine.graph import onnx_file as graph
from engine.preprocess import check_batch
from engine.ring import FeatureRing

_HALVES = {"fp16": torch.float16, "bf16": torch.bfloat16}


def runtime_facts() -> dict[str, str]:
    """Version of torch and the device an engine was proven on."""
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else "none"
    return {"torch": str(torch.__version__), "gpu": gpu}


class TorchStorage:
    """Rows of a :class:`engine.ring.FeatureRing` in a torch tensor.

    Args:
        rows: R.
        width: D.
        dtype: Of the features.
        device: Where they lie.
    """

    def __init__(self, rows: int, width: int, dtype: torch.dtype, device: torch.device) -> None:
        self._rows = torch.zeros(rows, width, dtype=dtype, device=device)

    @property
    def flat(self) -> Tensor:
        """``(R, D)``; the same memory for ever."""
        return self._rows

    def write(self, row: int, feature: Any) -> None:
        """Put a feature into a row; one that lies on the device stays there."""
        value = feature if isinstance(feature, Tensor) else torch.as_tensor(np.asarray(feature))
        self._rows[row].copy_(value, non_blocking=True)

    def copy(self, target: int, source: int) -> None:
        """Copy one row onto another."""
        self._rows[target].copy_(self._rows[source])


class TorchRows:
    """B features on a device, as ``encode`` gives them."""

    def __init__(self, rows: Tensor) -> None:
        self.rows = rows

    def __len__(self) -> int:
        """B."""
        return len(self.rows)

    def __getitem__(self, row: int) -> Tensor:
        """One feature."""
        return self.rows[row]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        """A copy on the host; waits for the device."""
        return self.rows.float().cpu().numpy().astype(dtype or np.float32)


class _Graphed:
    """A module with one CUDA graph per shape; runs plainly where there is none or capture fails."""

    def __init__(self, module: OnnxModule, device: torch.device) -> None:
        self.module, self._device = module, device
        self._captured: dict[Any, tuple[torch.cuda.CUDAGraph, list[Tensor], tuple[Tensor, ...]]] = {}
        self.graph_note: str | None = None if device.type == "cuda" else "not a GPU"

    def __call__(self, fixed: list[Tensor], fed: list[Tensor]) -> tuple[Tensor, ...]:
        """Run on ``fixed`` inputs, whose memory never changes, and ``fed`` ones, which are copied in."""
        if self.graph_note is not None:
            result: tuple[Tensor, ...] = self.module(*fixed, *[t.to(self._device) for t in fed])
            return result
        key = tuple((t.data_ptr(), tuple(t.shape)) for t in fixed), tuple(tuple(t.shape) for t in fed)
        if key not in self._captured:
            try:
                self._captured[key] = self._capture(fixed, fed)
            except RuntimeError as error:
                self.graph_note = f"without CUDA graphs: {str(error).splitlines()[0]}"
                return self(fixed, fed)
        recorded, inputs, outputs = self._captured[key]
        for own, new in zip(inputs, fed, strict=True):
            own.copy_(new, non_blocking=True)
        recorded.replay()
        return outputs

    def _capture(self, fixed: list[Tensor], fed: list[Tensor]) -> Any:
        inputs = [t.to(self._device).clone() for t in fed]
        side = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for _ in range(2):  # kernels are chosen and memory is taken outside of the capture
                self.module(*fixed, *inputs)
        torch.cuda.current_stream().wait_stream(side)
        recorded = torch.cuda.CUDAGraph()
        with torch.cuda.graph(recorded):
            outputs = self.module(*fixed, *inputs)
        return recorded, inputs, outputs


class TorchBackend:
    """Runs a bundle's graphs with torch.

    Args:
        model: Bundle or engine directory.
        threads: CPU threads, where it runs on the CPU.
        precision: ``fp16`` (default on a GPU), ``bf16`` or ``fp32`` (default on a CPU).
        device: ``cuda``, ``cuda:1``, ``cpu``; a GPU where there is one if not given.

    Raises:
        BackendError: If the precision is unknown or the graph has an operator that is not in :mod:`torch_operators`.
    """

    name = "torch"

    def __init__(
        self,
        model: Artefact,
        threads: int | None = None,
        precision: str | None = None,
        device: str | None = None,
    ) -> None:
        self.spec = model.spec
        self.reason, self.degraded = "asked for by name", False
        self._device = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        on_gpu = self._device.type == "cuda"
        self.precision = precision or ("fp16" if on_gpu else "fp32")
        if self.precision not in (*_HALVES, "fp32"):
            raise BackendError(f"torch computes in fp16, bf16 or fp32, not {precision!r}")
        if threads is not None:
            torch.set_num_threads(threads)
        self.device = torch.cuda.get_device_name(self._device) if on_gpu else f"CPU, {torch.get_num_threads()} threads"
        half = _HALVES.get(self.precision)
        self._feature_type = half or torch.float32
        try:
            self._encoder, self._head = (self._load(model, part, half) for part in ("encoder", "head"))
        except RuntimeError as error:
            raise BackendError(f"torch cannot run {model.path}: {str(error).splitlines()[0]}") from error
        size, window = self.spec.crop.size_px, self.spec.window
        self.encode(np.zeros((1, self.spec.unit, size, size, 3), np.uint8))
        self.head(np.zeros((window, self.spec.feature), np.float32), np.zeros((1, window), np.int32))

    @property
    def graph_note(self) -> str | None:
        """Why CUDA graphs are not used, or None where they are."""
        return self._encoder.graph_note or self._head.graph_note

    def ring(self, faces: int, length: int) -> FeatureRing:
        """A ring on the device."""
        storage = TorchStorage(faces * length, self.spec.feature, self._feature_type, self._device)
        kind = "float32" if self.precision == "fp32" else "float16"
        return FeatureRing(faces, length, self.spec.feature, kind, storage)

    def encode(self, crops: NDArray[np.uint8]) -> TorchRows:
        """Encode ``(B, U, S, S, 3)`` uint8 crops to B rows on the device."""
        batch = torch.from_numpy(check_batch(crops, self.spec))
        return TorchRows(self._run(self._encoder, [], [batch], "encoder")[0])

    def head(self, ring_flat: Any, index: NDArray[np.int32]) -> HeadOutput:
        """Score windows ``index`` (B, W) int32 of a ring that :meth:`ring` made, or of a host array."""
        rows = ring_flat
        if not isinstance(rows, Tensor):
            rows = torch.as_tensor(np.asarray(ring_flat, np.float32)).to(self._device, self._feature_type)
        windows = torch.from_numpy(np.ascontiguousarray(index, np.int32))
        values = [v.float().cpu().numpy() for v in self._run(self._head, [rows], [windows], "head")]
        return HeadOutput(values[0], values[1], values[2] if len(values) > 2 else None)

    def close(self) -> None:
        """Free graphs and weights."""
        for name in ("_encoder", "_head"):
            self.__dict__.pop(name, None)

    def _load(self, model: Artefact, part: str, half: torch.dtype | None) -> _Graphed:
        onnx_model = graph.load(model.encoder if part == "encoder" else model.head)
        if half is not None:
            onnx_model = convert.to_half(onnx_model)
        module = OnnxModule(onnx_model, half or torch.float16).to(self._device).eval()
        return _Graphed(module, self._device)

    @torch.no_grad()
    def _run(self, module: _Graphed, fixed: list[Tensor], fed: list[Tensor], part: str) -> tuple[Tensor, ...]:
        try:
            return module(fixed, fed)
        except RuntimeError as error:
            raise BackendError(f"torch failed in the {part}: {str(error).splitlines()[0]}") from error
