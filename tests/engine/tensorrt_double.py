"""Doubles of ``tensorrt`` and of the CUDA runtime at the driver seam.

Device memory is host memory, a plan is the ONNX graph it was built from, and executing it runs that graph, so what
goes through the back end is real numbers. Every call is recorded; any can be made to fail.
"""

from __future__ import annotations

import ast
import ctypes
import types
from collections.abc import Callable
from enum import IntEnum
from typing import Any

import numpy as np
import onnx
import onnxruntime


class Record:
    """Calls in order, what is alive, and which calls fail."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.alive: dict[int, Any] = {}
        self.failing: set[str] = set()
        self.capturing: list[Callable[[], None]] | None = None
        self.graphs: dict[int, list[Callable[[], None]]] = {}
        self.forbid_capture = False

    def note(self, name: str) -> bool:
        """Record a call; tell whether it shall fail."""
        self.calls.append(name)
        return name in self.failing


class Status(IntEnum):
    cudaSuccess = 0
    cudaErrorUnknown = 999


def cuda_runtime(record: Record) -> types.SimpleNamespace:
    """A CUDA runtime whose device memory is the host's."""

    def allocate(size: int) -> int:
        memory = ctypes.create_string_buffer(size + 256)
        address = ctypes.addressof(memory)
        address += -address % 256
        record.alive[address] = memory
        return address

    def copy(target: int, source: int, size: int) -> None:
        ctypes.memmove(target, source, size)

    def call(name: str, work: Callable[..., Any]) -> Callable[..., tuple[Any, ...]]:
        def run(*arguments: Any) -> tuple[Any, ...]:
            if record.note(name):
                return (Status.cudaErrorUnknown, None)
            result = work(*arguments)
            return (Status.cudaSuccess,) if result is None else (Status.cudaSuccess, result)

        return run

    def begin(stream: Any, mode: Any) -> None:
        record.capturing = []

    def end(stream: Any) -> int:
        work, record.capturing = record.capturing or [], None
        record.graphs[len(record.graphs) + 1] = work
        return len(record.graphs)

    def launch(graph: int, stream: Any) -> None:
        for work in record.graphs[graph]:
            work()

    properties = types.SimpleNamespace(name=b"Double\0\0", major=8, minor=7)
    functions: dict[str, Callable[..., Any]] = {
        "cudaSetDevice": lambda device: None,
        "cudaStreamCreate": lambda: 7,
        "cudaStreamDestroy": lambda stream: None,
        "cudaStreamSynchronize": lambda stream: None,
        "cudaMalloc": allocate,
        "cudaFree": lambda address: record.alive.pop(address) and None,
        "cudaMallocHost": allocate,
        "cudaFreeHost": lambda address: record.alive.pop(address) and None,
        "cudaMemcpyAsync": lambda target, source, size, kind, stream: copy(target, source, size),
        "cudaMemsetAsync": lambda address, value, size, stream: ctypes.memset(address, value, size) and None,
        "cudaStreamBeginCapture": begin,
        "cudaStreamEndCapture": end,
        "cudaGraphInstantiate": lambda graph, flags: graph,
        "cudaGraphDestroy": lambda graph: None,
        "cudaGraphExecDestroy": lambda graph: None,
        "cudaGraphLaunch": launch,
        "cudaGetDeviceProperties": lambda device: properties,
    }
    kinds = types.SimpleNamespace(cudaMemcpyHostToDevice=1, cudaMemcpyDeviceToHost=2, cudaMemcpyDeviceToDevice=3)
    modes = types.SimpleNamespace(cudaStreamCaptureModeThreadLocal=1)
    return types.SimpleNamespace(
        cudaMemcpyKind=kinds,
        cudaStreamCaptureMode=modes,
        **{name: call(name, work) for name, work in functions.items()},
    )


def tensorrt_module(record: Record, version: str = "10.3.0") -> types.ModuleType:
    """A ``tensorrt`` with the names common to 10.3 and 11.4 and no others, so that any other name is an error."""
    trt = types.ModuleType("tensorrt")

    class ILogger:
        INTERNAL_ERROR, ERROR, WARNING, INFO = range(4)

        def log(self, severity: int, message: str) -> None:
            raise AssertionError

    class Network:
        model: Any

    class Parser:
        num_errors = 1

        def __init__(self, network: Network, logger: Any) -> None:
            self.network = network

        def parse_from_file(self, path: str) -> bool:
            self.network.model = onnx.load(path)
            return not record.note("parse_from_file")

        def get_error(self, i: int) -> str:
            return "In node 3 (importSoftmax): unsupported"

    class Profile:
        def __init__(self) -> None:
            self.shapes: dict[str, Any] = {}

        def set_shape(self, name: str, low: Any, best: Any, high: Any) -> None:
            self.shapes[name] = (low, best, high)

    class Cache:
        def serialize(self) -> bytes:
            return b"timings"

    class Config:
        def __init__(self) -> None:
            self.profile: Profile | None = None
            self.flags: set[str] = set()
            self.workspace = 0

        def set_memory_pool_limit(self, pool: str, size: int) -> None:
            self.workspace = size

        def set_flag(self, flag: str) -> None:
            self.flags.add(flag)

        def clear_flag(self, flag: str) -> None:
            self.flags.discard(flag)

        def add_optimization_profile(self, profile: Profile) -> int:
            self.profile = profile
            return -1 if record.note("add_optimization_profile") else 0

        def create_timing_cache(self, stored: bytes) -> Cache:
            return Cache()

        def set_timing_cache(self, cache: Cache, ignore_mismatch: bool) -> bool:
            return not record.note("set_timing_cache")

        def get_timing_cache(self) -> Cache | None:
            return None if record.note("get_timing_cache") else Cache()

    class Builder:
        def __init__(self, logger: ILogger) -> None:
            self.logger = logger

        def create_network(self, flags: int) -> Network | None:
            assert flags == 1 << 5, "the graph's own types say the precision"
            return None if record.note("create_network") else Network()

        def create_builder_config(self) -> Config:
            return Config()

        def create_optimization_profile(self) -> Profile:
            return Profile()

        def build_serialized_network(self, network: Network, config: Config) -> bytes | None:
            if record.note("build_serialized_network"):
                self.logger.log(ILogger.ERROR, "out of memory while autotuning")
                return None
            assert config.profile is not None
            assert config.workspace > 0
            assert "TF32" not in config.flags
            for name, shapes in config.profile.shapes.items():
                entry = network.model.metadata_props.add()
                entry.key, entry.value = f"profile:{name}", repr(shapes)
            plan: bytes = network.model.SerializeToString()
            return plan

    class Context:
        def __init__(self, engine: Engine) -> None:
            self.engine = engine
            self.shapes: dict[str, tuple[int, ...]] = {}
            self.addresses: dict[str, int] = {}

        def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
            self.shapes[name] = tuple(shape)
            return not record.note("set_input_shape")

        def set_tensor_address(self, name: str, address: int) -> bool:
            assert address % 256 == 0, f"{name} is not aligned"
            self.addresses[name] = address
            return not record.note("set_tensor_address")

        def infer_shapes(self) -> list[str]:
            return [n for n in self.engine.inputs if n not in self.shapes]

        def execute_async_v3(self, stream: int) -> bool:
            failed = record.note("execute_async_v3")
            if record.capturing is not None:
                if record.forbid_capture:
                    return False
                record.capturing.append(self.work())
                return True
            if not failed:
                self.work()()
            return not failed

        def work(self) -> Callable[[], None]:
            shapes, addresses = dict(self.shapes), dict(self.addresses)

            def run() -> None:
                feeds = {}
                for name in self.engine.inputs:
                    kind = self.engine.types[name]
                    size = int(np.prod(shapes[name])) * kind.itemsize
                    raw = ctypes.string_at(addresses[name], size)
                    feeds[name] = np.frombuffer(raw, kind).reshape(shapes[name])
                for name, value in zip(self.engine.outputs, self.engine.session.run(None, feeds), strict=True):
                    ctypes.memmove(addresses[name], np.ascontiguousarray(value).ctypes.data, value.nbytes)

            return run

    class Engine:
        def __init__(self, plan: bytes) -> None:
            self.session = onnxruntime.InferenceSession(plan, providers=["CPUExecutionProvider"])
            model = onnx.load_from_string(plan)
            self.profiles = {
                e.key.removeprefix("profile:"): e.value for e in model.metadata_props if e.key.startswith("profile:")
            }
            self.inputs = [v.name for v in self.session.get_inputs()]
            self.outputs = [v.name for v in self.session.get_outputs()]
            self.types = {
                v.name: onnx.helper.tensor_dtype_to_np_dtype(v.type.tensor_type.elem_type)
                for v in (*model.graph.input, *model.graph.output)
            }
            self.num_io_tensors = len(self.inputs) + len(self.outputs)

        def create_execution_context(self) -> Context | None:
            return None if record.note("create_execution_context") else Context(self)

        def get_tensor_name(self, i: int) -> str:
            name: str = [*self.inputs, *self.outputs][i]
            return name

        def get_tensor_dtype(self, name: str) -> Any:
            return self.types[name]

        def get_tensor_profile_shape(self, name: str, profile: int) -> Any:
            return ast.literal_eval(self.profiles[name])

    class Runtime:
        def __init__(self, logger: Any) -> None:
            self.engine_host_code_allowed = False

        def deserialize_cuda_engine(self, plan: bytes) -> Engine | None:
            return None if record.note("deserialize_cuda_engine") else Engine(plan)

    class NetworkDefinitionCreationFlag(IntEnum):
        STRONGLY_TYPED = 5

    names = {
        "__version__": version,
        "ILogger": ILogger,
        "Builder": Builder,
        "OnnxParser": Parser,
        "Runtime": Runtime,
        "NetworkDefinitionCreationFlag": NetworkDefinitionCreationFlag,
        "MemoryPoolType": types.SimpleNamespace(WORKSPACE="workspace"),
        "ProfilingVerbosity": types.SimpleNamespace(LAYER_NAMES_ONLY="names"),
        "BuilderFlag": types.SimpleNamespace(TF32="TF32", VERSION_COMPATIBLE="VERSION_COMPATIBLE"),
        "HardwareCompatibilityLevel": types.SimpleNamespace(AMPERE_PLUS="ampere+"),
        "nptype": lambda kind: kind,
    }
    for name, value in names.items():
        setattr(trt, name, value)
    return trt
