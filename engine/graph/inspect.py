"""What an ONNX graph is, and which rules it breaks."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

from engine.graph import onnx_file as graph
from engine.graph.check import check_form

BATCH = "dferstream.batch"
"""Metadata key of an exported graph: the batch it is for, ``"1"``, or smallest and largest, ``"1-8"``."""


def describe(path: Path) -> tuple[dict[str, Any], list[str]]:
    """Operators, weights and broken rules of a graph.

    Args:
        path: The ONNX file.

    Returns:
        JSON-ready report and lines for people.

    Raises:
        GraphError: If it is no ONNX graph.
    """
    model = graph.load(path)
    operators = Counter(node.op_type for node in model.graph.node)
    arrays = graph.initializers(model)
    findings = [str(finding) for finding in check_form(model)]
    report: dict[str, Any] = {
        "path": str(path),
        "opset": {entry.domain or "ai.onnx": entry.version for entry in model.opset_import},
        "batch": graph.metadata(model).get(BATCH),
        "inputs": [value.name for value in model.graph.input],
        "outputs": [value.name for value in model.graph.output],
        "operators": dict(operators.most_common()),
        "parameters": int(sum(array.size for array in arrays.values())),
        "weight_bytes": int(sum(array.nbytes for array in arrays.values())),
        "findings": findings,
    }
    lines = [
        f"{path}: {len(model.graph.node)} nodes, {report['parameters']:,} numbers, "
        f"{report['weight_bytes'] / 1e6:.1f} MB of weights",
        f"  opset {report['opset'].get('ai.onnx')}, batch {report['batch'] or 'any'}",
        "  " + ", ".join(f"{kind} {count}" for kind, count in operators.most_common()),
        *(f"  breaks {finding}" for finding in findings),
    ]
    if not findings:
        lines.append("  keeps every rule")
    return report, lines
