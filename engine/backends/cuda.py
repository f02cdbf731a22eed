"""Device memory, streams and graphs through cuda-bindings: no torch on a device that only runs engines."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from engine.backends.protocol import BackendError


def load_runtime() -> Any:
    """The CUDA runtime's Python bindings.

    Raises:
        BackendError: If cuda-bindings is not installed.
    """
    try:
        from cuda.bindings import runtime
    except ImportError as error:
        raise BackendError("CUDA needs cuda-bindings", "pip install 'dferstream[tensorrt]'") from error
    return runtime


@dataclass(frozen=True)
class Device:
    """A GPU.

    Attributes:
        name: As NVIDIA calls it.
        compute_capability: For example ``"8.7"``.
    """

    name: str
    compute_capability: str


class Cuda:
    """One stream of one device, and what was allocated through it; :meth:`close` gives everything back.

    Args:
        runtime: ``cuda.bindings.runtime``.
        device: Ordinal.

    Raises:
        BackendError: If a CUDA call fails; the message names the call.
    """

    def __init__(self, runtime: Any, device: int = 0) -> None:
        self._runtime = runtime
        self._release: list[Callable[[], object]] = []
        self.call("cudaSetDevice", device)
        self.device = device
        self.stream: Any = self.call("cudaStreamCreate")
        self._release.append(lambda: self.call("cudaStreamDestroy", self.stream))

    def call(self, name: str, *arguments: Any) -> Any:
        """Call a function of the runtime and check its status.

        Returns:
            Its result, a tuple of results, or None.

        Raises:
            BackendError: Naming the call and the error.
        """
        status, *results = getattr(self._runtime, name)(*arguments)
        if int(status) != 0:
            raise BackendError(f"{name} failed: {getattr(status, 'name', status)}")
        return None if not results else results[0] if len(results) == 1 else tuple(results)

    def properties(self) -> Device:
        """What the device is."""
        found = self.call("cudaGetDeviceProperties", self.device)
        name = found.name.decode().rstrip("\0") if isinstance(found.name, bytes) else str(found.name)
        return Device(name, f"{found.major}.{found.minor}")

    def allocate(self, size: int) -> int:
        """Device memory, aligned to 256 bytes as TensorRT demands (cudaMalloc's own alignment).

        Args:
            size: Bytes.

        Returns:
            The address.
        """
        address = int(self.call("cudaMalloc", max(size, 256)))
        self._release.append(lambda: self.call("cudaFree", address))
        if address % 256:
            raise BackendError(f"cudaMalloc gave an address aligned to less than 256 bytes: {address:#x}")
        return address

    def pinned(self, shape: tuple[int, ...], dtype: DTypeLike) -> NDArray[Any]:
        """Page-locked host memory, which copies to the device without a detour.

        Args:
            shape: Of the array.
            dtype: Of the array.
        """
        kind = np.dtype(dtype)
        size = int(np.prod(shape)) * kind.itemsize
        address = int(self.call("cudaMallocHost", size))
        self._release.append(lambda: self.call("cudaFreeHost", address))
        memory = (ctypes.c_uint8 * size).from_address(address)
        array: NDArray[Any] = np.ctypeslib.as_array(memory).view(kind).reshape(shape)
        return array

    def upload(self, target: int, source: NDArray[Any]) -> None:
        """Copy from the host, in stream order."""
        self._copy(target, source.ctypes.data, source.nbytes, "cudaMemcpyHostToDevice")

    def download(self, target: NDArray[Any], source: int) -> None:
        """Copy to the host, in stream order; wait with :meth:`synchronise`."""
        self._copy(target.ctypes.data, source, target.nbytes, "cudaMemcpyDeviceToHost")

    def move(self, target: int, source: int, size: int) -> None:
        """Copy on the device, in stream order."""
        self._copy(target, source, size, "cudaMemcpyDeviceToDevice")

    def synchronise(self) -> None:
        """Wait for everything in the stream."""
        self.call("cudaStreamSynchronize", self.stream)

    def capture(self, work: Callable[[], None]) -> Any:
        """Record the stream's work as a graph.

        Args:
            work: Enqueues on :attr:`stream` and nothing else.

        Returns:
            An executable graph for :meth:`launch`.

        Raises:
            BackendError: If the work cannot be captured; the stream is usable again.
        """
        mode = self._runtime.cudaStreamCaptureMode.cudaStreamCaptureModeThreadLocal
        self.call("cudaStreamBeginCapture", self.stream, mode)
        try:
            work()
        except BackendError:
            # A failed capture must be ended, or the stream stays unusable.
            self._runtime.cudaStreamEndCapture(self.stream)
            raise
        graph = self.call("cudaStreamEndCapture", self.stream)
        try:
            executable = self.call("cudaGraphInstantiate", graph, 0)
        finally:
            self.call("cudaGraphDestroy", graph)
        self._release.append(lambda: self.call("cudaGraphExecDestroy", executable))
        return executable

    def launch(self, graph: Any) -> None:
        """Run a captured graph."""
        self.call("cudaGraphLaunch", graph, self.stream)

    def close(self) -> None:
        """Free everything in reverse order. Calling it twice is harmless."""
        while self._release:
            self._release.pop()()

    def _copy(self, target: int, source: int, size: int, kind: str) -> None:
        direction = getattr(self._runtime.cudaMemcpyKind, kind)
        self.call("cudaMemcpyAsync", target, source, size, direction, self.stream)


class DeviceRows:
    """Rows of numbers on a device: B features, or a whole ring.

    Args:
        cuda: Whose memory it is.
        address: Of the first row.
        rows: How many.
        width: Numbers per row.
        dtype: Of the numbers.
    """

    def __init__(self, cuda: Cuda, address: int, rows: int, width: int, dtype: DTypeLike) -> None:
        self.cuda, self.address, self.rows, self.width = cuda, address, rows, width
        self.dtype = np.dtype(dtype)
        self.row_bytes = width * self.dtype.itemsize

    def __len__(self) -> int:
        """B."""
        return self.rows

    def __getitem__(self, row: int) -> DeviceRows:
        """One row."""
        if not 0 <= row < self.rows:
            raise IndexError(f"row {row} is outside 0..{self.rows - 1}")
        return DeviceRows(self.cuda, self.address + row * self.row_bytes, 1, self.width, self.dtype)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        """A copy on the host; waits for the device."""
        host = np.empty((self.rows, self.width), self.dtype)
        self.cuda.download(host, self.address)
        self.cuda.synchronise()
        return host if dtype is None else host.astype(dtype)


class CudaStorage:
    """Rows of a :class:`engine.ring.FeatureRing` on a device.

    Args:
        cuda: Stream and memory.
        rows: R.
        width: D.
        dtype: Of the features.
    """

    def __init__(self, cuda: Cuda, rows: int, width: int, dtype: DTypeLike) -> None:
        size = rows * width * np.dtype(dtype).itemsize
        self._rows = DeviceRows(cuda, cuda.allocate(size), rows, width, dtype)
        cuda.call("cudaMemsetAsync", self._rows.address, 0, size, cuda.stream)

    @property
    def flat(self) -> DeviceRows:
        """``(R, D)`` on the device; the same memory for ever."""
        return self._rows

    def write(self, row: int, feature: DeviceRows | NDArray[np.floating]) -> None:
        """Put a feature into a row: on the device where it comes from there, else from the host."""
        ring = self._rows
        if isinstance(feature, DeviceRows):
            if feature.row_bytes != ring.row_bytes:
                raise ValueError(f"a feature has {ring.row_bytes} bytes, not {feature.row_bytes}")
            ring.cuda.move(ring.address + row * ring.row_bytes, feature.address, ring.row_bytes)
            return
        host = np.ascontiguousarray(feature, ring.dtype)
        if host.shape != (ring.width,):
            raise ValueError(f"a feature has shape {(ring.width,)}, not {host.shape}")
        ring.cuda.upload(ring.address + row * ring.row_bytes, host)
        ring.cuda.synchronise()  # the host array may be gone after this call

    def copy(self, target: int, source: int) -> None:
        """Copy one row onto another."""
        ring = self._rows
        ring.cuda.move(ring.address + target * ring.row_bytes, ring.address + source * ring.row_bytes, ring.row_bytes)
