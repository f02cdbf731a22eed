"""TensorRT plans from a bundle's graphs, with names that 10.3 and 11.4 both have."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path

import tensorrt as trt

from engine.backends.protocol import BackendError
from engine.backends.tensorrt import Log, require
from engine.build.options import BuildOptions
from engine.bundle.bundle import Bundle
from engine.files import write_bytes
from engine.graph import convert
from engine.graph import onnx_file as graph
from engine.graph.check import check_form
from engine.spec import ModelSpec

MAX_RING_WINDOWS = 64
"""Windows a ring may hold in a plan: eight faces at eight times the model's rate."""


def build_plans(
    bundle: Bundle,
    folder: Path,
    precision: str,
    options: BuildOptions,
    note: Callable[[str], None],
) -> None:
    """Build ``encoder.plan`` and ``head.plan``.

    Args:
        bundle: The model.
        folder: Where the plans go.
        precision: ``fp16`` (mixed) or ``fp32``.
        options: Profile, workspace, caches and compatibility.
        note: Told what was done.

    Raises:
        BackendError: If a rule is broken or TensorRT refuses; its own words are in the message.
    """
    for part in ("encoder", "head"):
        model = graph.load(bundle.path / f"{part}.onnx")
        if precision == "fp16":
            model = convert.to_half(model)
        findings = check_form(model)
        if findings:
            raise BackendError(f"the {part} breaks {len(findings)} rules: {findings[0]}")
        with tempfile.TemporaryDirectory() as scratch:
            path = Path(scratch) / f"{part}.onnx"
            graph.save(model, path)
            plan = _build_plan(path, _profile(bundle.spec, part, options.faces), options)
        (folder / f"{part}.plan").write_bytes(plan)
        note(f"{part}: plan of {len(plan) / 1e6:.1f} MB in {precision}, TensorRT {trt.__version__}")


def _profile(spec: ModelSpec, part: str, faces: int) -> dict[str, tuple[tuple[int, ...], ...]]:
    """Smallest, best and largest shape of each input."""
    size, window = spec.crop.size_px, spec.window
    if part == "encoder":
        return {"crops": tuple((b, spec.unit, size, size, 3) for b in (1, 1, faces))}
    rows = (window, faces * window, faces * MAX_RING_WINDOWS * window)
    return {
        "ring": tuple((r, spec.feature) for r in rows),
        "index": tuple((b, window) for b in (1, 1, faces)),
    }


def _build_plan(path: Path, shapes: dict[str, tuple[tuple[int, ...], ...]], options: BuildOptions) -> bytes:
    log = Log()
    builder = require(trt.Builder(log), "Builder", log)
    network = require(
        builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED)), "create_network", log
    )
    parser = require(trt.OnnxParser(network, log), "OnnxParser", log)
    if not parser.parse_from_file(str(path)):
        errors = " | ".join(str(parser.get_error(i)) for i in range(parser.num_errors))
        raise BackendError(f"TensorRT cannot parse {path.name}: {errors}{log.reason()}")
    config = require(builder.create_builder_config(), "create_builder_config", log)
    # Orin shares its memory between CPU and GPU: an uncapped workspace starves the daemon.
    config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, options.workspace_mb << 20)
    config.profiling_verbosity = trt.ProfilingVerbosity.LAYER_NAMES_ONLY
    config.clear_flag(trt.BuilderFlag.TF32)  # ten bits of mantissa are no FP32
    if options.version_compatible:
        config.set_flag(trt.BuilderFlag.VERSION_COMPATIBLE)
    if options.hardware_compatible:
        config.hardware_compatibility_level = trt.HardwareCompatibilityLevel.AMPERE_PLUS
    profile = require(builder.create_optimization_profile(), "create_optimization_profile", log)
    for name, (smallest, best, largest) in shapes.items():
        profile.set_shape(name, smallest, best, largest)
    if config.add_optimization_profile(profile) < 0:
        raise BackendError(f"TensorRT refuses the profile {shapes}{log.reason()}")
    cache = None
    if options.timing_cache is not None:
        stored = options.timing_cache.read_bytes() if options.timing_cache.is_file() else b""
        cache = require(config.create_timing_cache(stored), "create_timing_cache", log)
        if not config.set_timing_cache(cache, False):
            raise BackendError(
                f"{options.timing_cache} is a timing cache of another machine{log.reason()}", "delete it"
            )
    plan = builder.build_serialized_network(network, config)
    if plan is None:
        raise BackendError(f"TensorRT cannot build {path.name}{log.reason()}")
    if cache is not None and options.timing_cache is not None:
        kept = require(config.get_timing_cache(), "get_timing_cache", log)
        write_bytes(options.timing_cache, bytes(require(kept.serialize(), "serialize of the timing cache", log)))
    return bytes(plan)
