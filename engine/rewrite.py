"""``dfer-engine export``: a bundle's graphs in another precision or batch, checked before they are written."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import Any

from engine import convert, graph
from engine.bundle import Bundle, replace_directory
from engine.check import check_form, check_half, contract
from engine.graph import GraphError


def rewrite(
    bundle_path: Path, out: Path, precision: str = "fp16", batch: int | None = None
) -> tuple[dict[str, Any], list[str]]:
    """Write ``encoder.onnx`` and ``head.onnx`` of a bundle anew.

    Args:
        bundle_path: The bundle.
        out: A directory that does not exist yet or is empty.
        precision: ``fp32`` or ``fp16`` (mixed, see :func:`engine.convert.to_half`).
        batch: Fixed batch, or None for a dynamic one.

    Returns:
        JSON-ready report and lines for people.

    Raises:
        GraphError: If a rule is broken, with every node that breaks one, or ``out`` is in use.
        BundleError: If the bundle is damaged.
    """
    bundle = Bundle.open(bundle_path)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise GraphError(f"{out} exists; choose a new directory")
    models = {part: graph.load(bundle.path / f"{part}.onnx") for part in ("encoder", "head")}
    if precision == "fp16":
        models = {part: convert.to_half(model) for part, model in models.items()}
    findings = [str(finding) for model in models.values() for finding in check_form(model)]
    if precision == "fp16":
        findings += [str(f) for f in check_half(models["encoder"], models["head"], bundle.golden())]
    findings += [line for part, model in models.items() for line in contract(model, bundle.spec, part)]
    if findings:
        raise GraphError(f"{bundle.path} breaks {len(findings)} rules: " + "; ".join(findings[:5]))
    if batch is not None:
        models = {part: convert.with_batch(model, batch) for part, model in models.items()}
    out.parent.mkdir(parents=True, exist_ok=True)
    staging = Path(tempfile.mkdtemp(prefix=f".{out.name}.", dir=out.parent))
    try:
        for part, model in models.items():
            graph.save(model, staging / f"{part}.onnx")
        sizes = {file.name: file.stat().st_size for file in sorted(staging.iterdir())}
        replace_directory(staging, out)
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    report: dict[str, Any] = {"path": str(out), "precision": precision, "batch": batch, "bytes": sizes, "findings": []}
    shown = "any batch" if batch is None else f"batch {batch}"
    return report, [f"{out}: {bundle.spec.name} in {precision}, {shown}; every rule kept"]
