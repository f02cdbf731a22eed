"""``dfer-engine export``: a bundle's graphs in another precision, opset or batch, checked before they are written."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.backends.onnxruntime import session
from engine.bundle.bundle import Bundle, Golden, replace_directory
from engine.bundle.golden import softmax
from engine.graph import convert
from engine.graph import onnx_file as graph
from engine.graph.check import check_form, check_half, contract
from engine.graph.check.measured import DELTA, TOP1
from engine.graph.inspect import BATCH
from engine.graph.onnx_file import GraphError
from engine.spec import ModelSpec

PROFILE = (1, 8)
"""Smallest and largest batch where none is fixed: the faces of one step, as in TensorRT's profile."""


def rewrite(
    bundle_path: Path,
    out: Path,
    precision: str = "fp16",
    batch: int | tuple[int, int] = PROFILE,
    opset: int | None = None,
) -> tuple[dict[str, Any], list[str]]:
    """Write ``encoder.onnx`` and ``head.onnx`` of a bundle anew, once they reproduced its golden vectors.

    Args:
        bundle_path: The bundle.
        out: A directory that does not exist yet or is empty.
        precision: ``fp32`` or ``fp16`` (mixed, see :func:`engine.graph.convert.to_half`).
        batch: Fixed batch, or smallest and largest of a dynamic one. ONNX has no bounds for a dimension, so they stand
            in the graphs' metadata, and the graphs are run at both ends before they appear.
        opset: 18 or 23; the bundle's own if None.

    Returns:
        JSON-ready report and lines for people.

    Raises:
        GraphError: If a rule is broken, with every node that breaks one, if the graphs do not reproduce the golden
            vectors at those batches, or if ``out`` is in use.
        BundleError: If the bundle is damaged.
    """
    low, high = (batch, batch) if isinstance(batch, int) else batch
    if not 1 <= low <= high:
        raise GraphError(f"a batch is 1 or more and a profile goes upwards, not {low}-{high}")
    bundle = Bundle.open(bundle_path)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise GraphError(f"{out} exists; choose a new directory")
    golden = bundle.golden()
    models = {part: graph.load(bundle.path / f"{part}.onnx") for part in ("encoder", "head")}
    if opset is not None:
        models = {part: convert.with_opset(model, opset) for part, model in models.items()}
    if precision == "fp16":
        models = {part: convert.to_half(model) for part, model in models.items()}
    models = {part: _profiled(model, low, high) for part, model in models.items()}
    findings = [str(finding) for model in models.values() for finding in check_form(model)]
    findings += [line for part, model in models.items() for line in contract(model, bundle.spec, part)]
    if precision == "fp16" and not findings:
        findings += [str(f) for f in check_half(*_any_batch(models), golden)]
    if findings:
        raise GraphError(f"{bundle.path} breaks {len(findings)} rules: " + "; ".join(findings[:5]))
    versions = {entry.version for entry in models["encoder"].opset_import if entry.domain in ("", "ai.onnx")}
    out.parent.mkdir(parents=True, exist_ok=True)
    staging = Path(tempfile.mkdtemp(prefix=f".{out.name}.", dir=out.parent))
    try:
        for part, model in models.items():
            graph.save(model, staging / f"{part}.onnx")
        models.clear()
        delta = reproduce(staging, bundle.spec, golden, low, high)
        sizes = {file.name: file.stat().st_size for file in sorted(staging.iterdir())}
        replace_directory(staging, out)
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    report: dict[str, Any] = {
        "path": str(out),
        "precision": precision,
        "opset": max(versions),
        "batch": {"min": low, "max": high},
        "max_delta": delta,
        "bytes": sizes,
        "findings": [],
    }
    shown = f"batch {low}" if low == high else f"batch {low} to {high}"
    return report, [
        f"{out}: {bundle.spec.name} in {precision}, opset {max(versions)}, {shown}; every rule kept, probabilities "
        f"within {delta:.5f} of FP32 at those batches"
    ]


def reproduce(folder: Path, spec: ModelSpec, golden: Golden, low: int, high: int) -> float:
    """Run two graphs over the golden vectors in batches from the smallest to the largest that they are for.

    Args:
        folder: Holds ``encoder.onnx`` and ``head.onnx``.
        spec: The model's.
        golden: Crops, windows and what FP32 made of them.
        low: Smallest batch.
        high: Largest batch.

    Returns:
        Largest difference of a probability.

    Raises:
        GraphError: If a batch cannot be run, a number is none, a shape is another than the spec's, or the scores are
            too far from FP32's.
    """
    sizes = sorted({low, (low + high) // 2, high}, reverse=True)
    features = _in_batches(folder / "encoder.onnx", {}, "crops", golden.crops, sizes)["features"]
    rows = features.astype(np.float16 if features.dtype == np.float16 else np.float32)
    logits = _in_batches(folder / "head.onnx", {"ring": rows}, "index", golden.windows, sizes)["logits"]
    for name, found, wanted in (
        ("features", features, (len(golden.crops), spec.feature)),
        ("logits", logits, (len(golden.windows), len(spec.labels))),
    ):
        if found.shape != wanted or not np.isfinite(found).all():
            raise GraphError(f"{name} come out as {found.shape} or not as numbers; {wanted} are wanted")
    probs = softmax(logits)
    delta = float(np.abs(probs - golden.probs).max())
    same = float((probs.argmax(1) == golden.probs.argmax(1)).mean())
    if delta > DELTA or same < TOP1:
        raise GraphError(
            f"the graphs move probabilities by up to {delta:.4f} ({DELTA} is allowed) and keep the class of "
            f"{same:.1%} of windows ({TOP1:.0%} must) at batches {low} to {high}"
        )
    return delta


def _in_batches(
    path: Path, fixed: dict[str, NDArray[Any]], name: str, rows: NDArray[Any], sizes: list[int]
) -> dict[str, NDArray[Any]]:
    """Run a graph over all rows in batches of changing size; the last ones are filled up with the first rows."""
    run = session(path)
    names = [output.name for output in run.get_outputs()]
    kept: dict[str, list[NDArray[Any]]] = {output: [] for output in names}
    at = 0
    for step in range(max(len(rows), len(sizes))):
        if at >= len(rows) and step >= len(sizes):
            break
        size = sizes[step % len(sizes)]
        take = np.arange(at, at + size) % len(rows)
        try:
            values = run.run(None, {**fixed, name: np.ascontiguousarray(rows[take])})
        except Exception as error:  # ONNX Runtime raises types of its own without a common base
            raise GraphError(f"{path.name} does not run at batch {size}: {error}") from error
        for output, value in zip(names, values, strict=True):
            if len(value) != size:
                raise GraphError(f"{path.name} answers {len(value)} rows of {output} to a batch of {size}")
            kept[output].append(value)
        at += size
    return {output: np.concatenate(values)[: len(rows)] for output, values in kept.items()}


def _profiled(model: Any, low: int, high: int) -> Any:
    new = convert.with_batch(model, low if low == high else "batch")
    graph.set_metadata(new, {**graph.metadata(new), BATCH: str(low) if low == high else f"{low}-{high}"})
    return new


def _any_batch(models: dict[str, Any]) -> tuple[Any, Any]:
    encoder, head = (convert.with_batch(models[part], "batch") for part in ("encoder", "head"))
    return encoder, head
