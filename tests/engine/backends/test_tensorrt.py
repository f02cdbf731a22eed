from __future__ import annotations

import ast
import importlib
import json
import re
import shutil
import sys
import types
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from engine.backends import BackendError, open_artefact, open_backend
from engine.build.build import build, verify
from engine.build.gate import replay
from engine.build.options import BuildError, BuildOptions
from engine.bundle import Bundle, BundleError, EngineDirectory
from engine.bundle.engine_directory import ENGINE_MANIFEST
from engine.bundle.files import encode_manifest
from tests.engine.tensorrt_double import Record, cuda_runtime, tensorrt_module

OURS = ("engine.backends.tensorrt", "engine.build.tensorrt_plans")
"""The modules that call TensorRT: one runs plans, one builds them."""


def install(monkeypatch: pytest.MonkeyPatch, record: Record, version: str) -> None:
    runtime = cuda_runtime(record)
    bindings = types.ModuleType("cuda.bindings")
    bindings.runtime = runtime  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "cuda", types.ModuleType("cuda"))
    monkeypatch.setitem(sys.modules, "cuda.bindings", bindings)
    monkeypatch.setitem(sys.modules, "cuda.bindings.runtime", runtime)
    monkeypatch.setitem(sys.modules, "tensorrt", tensorrt_module(record, version))
    for module in OURS:
        monkeypatch.delitem(sys.modules, module, raising=False)


def proven_with(path: Path) -> Mapping[str, str]:
    engine = open_artefact(path)
    assert isinstance(engine, EngineDirectory)
    return engine.runtime


@pytest.fixture
def record(monkeypatch: pytest.MonkeyPatch) -> Iterator[Record]:
    """TensorRT 10.3 and a CUDA device, both doubles."""
    record = Record()
    install(monkeypatch, record, "10.3.0")
    yield record
    for module in OURS:
        sys.modules.pop(module, None)


@pytest.fixture(scope="module")
def plans(exported: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An engine directory, built once; do not alter it."""
    path, record = tmp_path_factory.mktemp("plans") / "engine", Record()
    with pytest.MonkeyPatch.context() as patch:
        install(patch, record, "10.3.0")
        build(exported.path, path, "tensorrt", BuildOptions(faces=4))
        for module in OURS:
            sys.modules.pop(module, None)
    assert record.alive == {}, "the build gives all device memory back"
    return path


@pytest.fixture
def built(plans: Path, tmp_path: Path, record: Record) -> EngineDirectory:
    """A copy, free to be damaged."""
    engine = open_artefact(shutil.copytree(plans, tmp_path / "engine"))
    assert isinstance(engine, EngineDirectory)
    record.calls.clear()
    return engine


def test_a_plan_reproduces_the_golden_vectors_in_half(built: EngineDirectory, exported: Bundle, record: Record) -> None:
    assert (built.backend, built.precision) == ("tensorrt", "fp16")
    assert built.runtime == {"tensorrt": "10.3.0", "gpu": "Double", "compute_capability": "8.7"}
    backend = open_backend(built.path)
    parity = replay(backend, exported.golden())
    assert parity.windows == 256
    assert parity.max_delta <= 0.02
    assert parity.top1 >= 0.99
    backend.close()
    assert record.alive == {}


def test_features_stay_on_the_device_between_encoder_and_head(
    built: EngineDirectory, exported: Bundle, record: Record
) -> None:
    backend = open_backend(built.path)
    golden = exported.golden()
    ring = backend.ring(2, exported.spec.window)
    copies: list[tuple[int, int]] = []
    runtime = sys.modules["cuda.bindings.runtime"]
    original = runtime.cudaMemcpyAsync

    def watch(target: int, source: int, size: int, kind: int, stream: Any) -> Any:
        copies.append((kind, size))
        return original(target, source, size, kind, stream)

    runtime.cudaMemcpyAsync = watch  # type: ignore[attr-defined]
    features = backend.encode(golden.crops[:2])
    for slot in range(2):
        ring.push(slot, features[slot])
    index = np.stack([ring.index(slot, exported.spec.window) for slot in range(2)])
    output = backend.head(ring.flat, index)
    spec = exported.spec
    to_device = [size for kind, size in copies if kind == 1]
    to_host = [size for kind, size in copies if kind == 2]
    assert to_device == [golden.crops[:2].nbytes, index.nbytes]  # crops as bytes; the index is a few words
    assert sum(to_host) == 4 * 2 * (7 + 7 + spec.samples)
    assert [size for kind, size in copies if kind == 3] == [spec.feature * 2] * 2
    assert np.isfinite(output.logits).all()
    backend.close()


def test_one_cuda_graph_per_batch_and_its_replay_gives_the_same(
    built: EngineDirectory, exported: Bundle, record: Record
) -> None:
    backend: Any = open_backend(built.path)
    crops = exported.golden().crops
    first = np.asarray(backend.encode(crops[:1]))
    record.calls.clear()
    again = np.asarray(backend.encode(crops[:1]))
    assert "cudaGraphLaunch" in record.calls
    assert "execute_async_v3" not in record.calls
    assert np.array_equal(first, again)
    other = np.asarray(backend.encode(crops[1:3]))
    assert record.calls.count("cudaStreamBeginCapture") == 1
    assert np.array_equal(np.asarray(backend.encode(crops[1:3])), other)
    assert backend.graph_note is None
    backend.close()


def test_a_capture_that_fails_leaves_the_plain_path(built: EngineDirectory, exported: Bundle, record: Record) -> None:
    record.forbid_capture = True
    backend: Any = open_backend(built.path)
    crops = exported.golden().crops
    first = np.asarray(backend.encode(crops[:2]))
    assert np.array_equal(np.asarray(backend.encode(crops[:2])), first)
    assert "cudaGraphLaunch" not in record.calls
    assert "execute_async_v3" in backend.graph_note
    assert record.calls.count("cudaStreamEndCapture") == 1, "a failed capture is ended, or the stream is lost"
    backend.close()


def test_more_faces_than_the_plan_takes_are_run_in_parts(built: EngineDirectory, exported: Bundle) -> None:
    backend = open_backend(built.path)
    golden = exported.golden()
    whole = np.asarray(backend.encode(golden.crops[:11]))
    single = np.concatenate([np.asarray(backend.encode(golden.crops[i : i + 1])) for i in range(11)])
    assert np.array_equal(whole, single)
    output = backend.head(golden.features, golden.windows[:11])
    assert output.logits.shape == (11, 7)
    backend.close()


def test_the_device_is_chosen_before_anything_is_deserialised(built: EngineDirectory, record: Record) -> None:
    record.calls.clear()
    open_backend(open_artefact(built.path)).close()
    assert record.calls.index("cudaSetDevice") < record.calls.index("deserialize_cuda_engine")
    frees = [i for i, call in enumerate(record.calls) if call in ("cudaFree", "cudaFreeHost")]
    assert max(frees) < len(record.calls)
    assert record.calls[-1] == "cudaStreamDestroy"
    assert record.alive == {}


@pytest.mark.parametrize(
    "call",
    ["deserialize_cuda_engine", "create_execution_context", "cudaMalloc", "cudaMallocHost", "cudaStreamCreate"],
)
def test_a_failure_while_opening_frees_everything_and_names_the_call(
    built: EngineDirectory, record: Record, call: str
) -> None:
    record.failing.add(call)
    module = importlib.import_module("engine.backends.tensorrt")
    wanted = "encoder.plan" if call.startswith("deserialize") else call
    with pytest.raises(BackendError, match=wanted):
        module.TensorRtBackend(built)
    assert record.alive == {}


@pytest.mark.parametrize("call", ["execute_async_v3", "set_input_shape", "set_tensor_address"])
def test_a_false_at_run_time_is_an_error_of_ours(
    built: EngineDirectory, exported: Bundle, record: Record, call: str
) -> None:
    backend = open_backend(built.path)
    record.failing.add(call)
    with pytest.raises(BackendError, match=call):
        backend.encode(exported.golden().crops[:3])
    backend.close()
    assert record.alive == {}


@pytest.mark.parametrize(
    ("call", "message"),
    [
        ("parse_from_file", "importSoftmax"),
        ("build_serialized_network", "out of memory while autotuning"),
        ("create_network", "create_network"),
        ("add_optimization_profile", "profile"),
    ],
)
def test_a_build_that_fails_says_why_and_leaves_nothing(
    exported: Bundle, tmp_path: Path, record: Record, call: str, message: str
) -> None:
    record.failing.add(call)
    with pytest.raises(BackendError, match=message):
        build(exported.path, tmp_path / "engine", "tensorrt")
    assert list(tmp_path.iterdir()) == []


def test_the_timing_cache_is_kept(exported: Bundle, tmp_path: Path, record: Record) -> None:
    cache = tmp_path / "timing.cache"
    options = BuildOptions(timing_cache=cache, version_compatible=True, hardware_compatible=True)
    build(exported.path, tmp_path / "engine", "tensorrt", options)
    assert cache.read_bytes() == b"timings"
    for call, message in (
        ("set_timing_cache", "another machine"),
        ("get_timing_cache", "get_timing_cache gave nothing"),
    ):
        record.failing = {call}
        with pytest.raises(BackendError, match=message):
            build(exported.path, tmp_path / "other", "tensorrt", options)
    assert not (tmp_path / "other").exists()


def test_a_plan_of_another_tensorrt_is_refused_before_it_is_read(
    built: EngineDirectory, record: Record, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(monkeypatch, record, "11.4.0")
    record.calls.clear()
    with pytest.raises(BundleError, match=r"tensorrt 10\.3\.0, this machine has 11\.4\.0.*dfer-engine build"):
        open_artefact(built.path)
    assert "deserialize_cuda_engine" not in record.calls
    assert verify(built.path, adopted=True).top1 >= 0.99, "a version-compatible plan, proven here, may serve here"
    assert proven_with(built.path)["tensorrt"] == "11.4.0"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"runtime": {"gpu": "Orin"}}, "proven with gpu Orin, this machine has Double.*dfer-engine build"),
        ({"runtime": {"compute_capability": "9.0"}}, "compute_capability 9.0"),
        ({"runtime": {"tensorrt": "10.7.0"}}, r"tensorrt 10\.7\.0"),
        ({"onnx": {"encoder.onnx": "0" * 64}}, r"another encoder\.onnx"),
        ({"onnx": {"head.onnx.data": "0" * 64}}, r"another head\.onnx\.data"),
    ],
)
def test_a_manifest_of_elsewhere_is_refused_by_name_before_a_plan_is_read(
    built: EngineDirectory, record: Record, change: dict[str, dict[str, str]], message: str
) -> None:
    file = built.path / ENGINE_MANIFEST
    values = json.loads(file.read_bytes())
    for key, entries in change.items():
        values[key].update(entries)
    file.write_bytes(encode_manifest(values))
    with pytest.raises(BundleError, match=message):
        open_backend(built.path)
    assert "deserialize_cuda_engine" not in record.calls


def test_a_flipped_byte_of_a_plan_is_refused_before_it_is_read(built: EngineDirectory, record: Record) -> None:
    for name in ("encoder.plan", "head.plan"):
        whole = (built.path / name).read_bytes()
        (built.path / name).write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
        with pytest.raises(BundleError, match=name):
            open_backend(built.path)
        (built.path / name).write_bytes(whole)
    assert "deserialize_cuda_engine" not in record.calls


def test_the_double_of_11_builds_too(exported: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    record = Record()
    install(monkeypatch, record, "11.4.1")
    built = build(exported.path, tmp_path / "engine", "tensorrt", BuildOptions(precision="fp32"))
    assert built.engine.runtime["tensorrt"] == "11.4.1"
    assert built.parity.max_delta < 1e-5
    for module in OURS:
        sys.modules.pop(module, None)


def test_bad_requests(exported: Bundle, built: EngineDirectory, tmp_path: Path) -> None:
    with pytest.raises(BackendError, match="dfer-engine build"):
        open_backend(exported, "tensorrt")
    with pytest.raises(BuildError, match="tensorrt builds in fp16, fp32"):
        build(exported.path, tmp_path / "x", "tensorrt", BuildOptions(precision="int8"))
    backend = open_backend(built.path)
    with pytest.raises(BackendError, match="--faces"):
        backend.ring(1000, 1000)
    backend.close()


IN_BOTH = """
Builder ILogger OnnxParser Runtime NetworkDefinitionCreationFlag STRONGLY_TYPED MemoryPoolType WORKSPACE
ProfilingVerbosity LAYER_NAMES_ONLY BuilderFlag TF32 VERSION_COMPATIBLE HardwareCompatibilityLevel AMPERE_PLUS
INTERNAL_ERROR ERROR WARNING nptype __version__ __init__
create_network create_builder_config create_optimization_profile build_serialized_network
parse_from_file num_errors get_error
set_memory_pool_limit profiling_verbosity clear_flag set_flag hardware_compatibility_level
add_optimization_profile create_timing_cache set_timing_cache get_timing_cache serialize set_shape
deserialize_cuda_engine engine_host_code_allowed create_execution_context num_io_tensors get_tensor_name
get_tensor_dtype get_tensor_profile_shape set_input_shape set_tensor_address infer_shapes execute_async_v3
"""
"""Names of TensorRT's Python interface that 10.3 and 11.4 both have; what the back end uses must be among them."""
THEIRS = ("trt", "builder", "network", "parser", "config", "profile", "cache", "kept", "runtime", "engine", "context")


def test_every_tensorrt_name_is_in_10_3_and_11_4() -> None:
    root = Path(__file__).resolve().parents[3]
    used, common = set(), set(IN_BOTH.split())
    sources = [root.joinpath(*module.split(".")).with_suffix(".py") for module in OURS]
    for node in (node for source in sources for node in ast.walk(ast.parse(source.read_text("utf-8")))):
        if isinstance(node, ast.Attribute):
            owner = node.value
            name = owner.attr if isinstance(owner, ast.Attribute) else getattr(owner, "id", "")
            if name.lstrip("_") in THEIRS or (isinstance(owner, ast.Attribute) and owner.attr in common):
                used.add(node.attr)
    own = {"plan", "plain", "run", "dtype", "largest", "names"}  # of the wrapper around a plan
    assert used - own - common == set()
    assert len(used & common) > 30, "the walk finds what the module uses"


def test_tensorrt_is_imported_where_plans_run_and_are_built_and_removed_names_nowhere() -> None:
    root = Path(__file__).resolve().parents[3]
    importing = []
    for file in [*root.glob("engine/**/*.py"), *root.glob("stream/**/*.py")]:
        text = file.read_text("utf-8")
        if re.search(r"^\s*(import tensorrt|from tensorrt)", text, re.M):
            importing.append(".".join(file.relative_to(root).with_suffix("").parts))
            for gone in (
                "BuilderFlag.FP16", "BuilderFlag.BF16", "BuilderFlag.INT8", "IInt8", "set_dynamic_range",
                "EXPLICIT_BATCH", "platform_has_fast_fp16", "supports_model(", "device_memory_size",
            ):  # fmt: skip
                assert gone not in text, gone
    assert sorted(importing) == sorted(OURS)
