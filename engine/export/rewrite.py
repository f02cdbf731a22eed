"""``dfer-engine export``: a bundle's graphs in another precision, opset or batch, checked before they are written."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto

from engine.backends.onnxruntime import session
from engine.bundle.bundle import Bundle
from engine.bundle.files import is_vacant, staged
from engine.bundle.golden import Bounds, Golden, compare, probabilities
from engine.graph import convert
from engine.graph import onnx_file as graph
from engine.graph.check import check_form, check_half, contract
from engine.graph.inspect import BATCH
from engine.graph.onnx_file import GraphError
from engine.spec import ModelSpec

PROFILE = (1, 8)
"""Smallest and largest batch where none is fixed: the faces of one step, as in TensorRT's profile."""


@dataclass(frozen=True)
class Rewritten:
    """Graphs that were rewritten and proven.

    Attributes:
        path: Their directory.
        model: The model's name.
        precision: ``fp32`` or ``fp16``.
        opset: Of both graphs.
        low: Smallest batch they are for.
        high: Largest batch.
        max_delta: Largest difference of a probability to FP32 at those batches.
        sizes: Bytes by file name.
    """

    path: Path
    model: str
    precision: str
    opset: int
    low: int
    high: int
    max_delta: float
    sizes: dict[str, int]

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready values."""
        return {
            "path": str(self.path),
            "precision": self.precision,
            "opset": self.opset,
            "batch": {"min": self.low, "max": self.high},
            "max_delta": self.max_delta,
            "bytes": self.sizes,
            "findings": [],
        }

    def lines(self) -> list[str]:
        """The same for people."""
        shown = f"batch {self.low}" if self.low == self.high else f"batch {self.low} to {self.high}"
        return [
            f"{self.path}: {self.model} in {self.precision}, opset {self.opset}, {shown}; every rule kept, "
            f"probabilities within {self.max_delta:.5f} of FP32 at those batches"
        ]


def rewrite(
    bundle_path: Path,
    out: Path,
    precision: str = "fp16",
    batch: int | tuple[int, int] = PROFILE,
    opset: int | None = None,
) -> Rewritten:
    """Write ``encoder.onnx`` and ``head.onnx`` of a bundle anew, once they reproduced its golden vectors.

    Args:
        bundle_path: The bundle.
        out: A directory that does not exist yet or is empty.
        precision: ``fp32`` or ``fp16`` (mixed, see :func:`engine.graph.convert.to_half`).
        batch: Fixed batch, or smallest and largest of a dynamic one. ONNX has no bounds for a dimension, so they stand
            in the graphs' metadata, and the graphs are run at both ends before they appear.
        opset: 18 or 23; the bundle's own if None.

    Raises:
        GraphError: If a rule is broken, with every node that breaks one, if the graphs do not reproduce the golden
            vectors at those batches, or if ``out`` is in use.
        BundleError: If the bundle is damaged.
    """
    low, high = (batch, batch) if isinstance(batch, int) else batch
    if not 1 <= low <= high:
        raise GraphError(f"a batch is 1 or more and a profile goes upwards, not {low}-{high}")
    bundle = Bundle.open(bundle_path)
    if not is_vacant(out):
        raise GraphError(f"{out} exists", "choose a new directory")
    golden = bundle.golden()
    models = {part: graph.load(bundle.graph(part)) for part in ("encoder", "head")}
    if opset is not None:
        models = {part: convert.with_opset(model, opset) for part, model in models.items()}
    if precision == "fp16":
        models = {part: convert.to_half(model) for part, model in models.items()}
    models = {part: _profiled(model, low, high) for part, model in models.items()}
    findings = [str(finding) for model in models.values() for finding in check_form(model)]
    findings += [line for part, model in models.items() for line in contract(model, bundle.spec, part)]
    if precision == "fp16" and not findings:
        encoder, head = (convert.with_batch(models[part], "batch") for part in ("encoder", "head"))
        findings += [str(f) for f in check_half(encoder, head, golden)]
    if findings:
        raise GraphError(f"{bundle.path} breaks {len(findings)} rules: " + "; ".join(findings[:5]))
    versions = {entry.version for entry in models["encoder"].opset_import if entry.domain in ("", "ai.onnx")}
    with staged(out) as staging:
        for part, model in models.items():
            graph.save(model, staging / f"{part}.onnx")
        models.clear()
        delta = reproduce(staging, bundle.spec, golden, low, high)
        sizes = {file.name: file.stat().st_size for file in sorted(staging.iterdir())}
    return Rewritten(out, bundle.spec.name, precision, max(versions), low, high, delta, sizes)


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
    bounds, parity = Bounds(), compare(probabilities(logits), golden)
    if not bounds.hold(parity):
        raise GraphError(
            f"the graphs move probabilities by up to {parity.max_delta:.4f} ({bounds.max_delta} is allowed) and keep "
            f"the class of {parity.top1:.1%} of windows ({bounds.top1:.0%} must) at batches {low} to {high}"
        )
    return parity.max_delta


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


def _profiled(model: ModelProto, low: int, high: int) -> ModelProto:
    new = convert.with_batch(model, low if low == high else "batch")
    graph.set_metadata(new, {**graph.metadata(new), BATCH: str(low) if low == high else f"{low}-{high}"})
    return new
