"""What an ONNX graph is, and which rules it breaks."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from engine.graph import onnx_file as graph
from engine.graph.check import check_form

BATCH = "dferstream.batch"
"""Metadata key of an exported graph: the batch it is for, ``"1"``, or smallest and largest, ``"1-8"``."""


@dataclass(frozen=True)
class Description:
    """Operators, weights and broken rules of a graph.

    Attributes:
        path: The file.
        opset: Version by domain.
        batch: What it is for, ``"1"`` or ``"1-8"``; None for any.
        inputs: Names.
        outputs: Names.
        operators: How many nodes by operator, most frequent first.
        parameters: Numbers in its constants.
        weight_bytes: Bytes of these.
        findings: Broken rules, a line each.
    """

    path: str
    opset: dict[str, int]
    batch: str | None
    inputs: list[str]
    outputs: list[str]
    operators: dict[str, int]
    parameters: int
    weight_bytes: int
    findings: list[str]

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready values."""
        return asdict(self)

    def lines(self) -> list[str]:
        """The same for people."""
        return [
            f"{self.path}: {sum(self.operators.values())} nodes, {self.parameters:,} numbers, "
            f"{self.weight_bytes / 1e6:.1f} MB of weights",
            f"  opset {self.opset.get('ai.onnx')}, batch {self.batch or 'any'}",
            "  " + ", ".join(f"{kind} {count}" for kind, count in self.operators.items()),
            *(f"  breaks {finding}" for finding in self.findings),
            *([] if self.findings else ["  keeps every rule"]),
        ]


def describe(path: Path) -> Description:
    """Look into a graph.

    Args:
        path: The ONNX file.

    Raises:
        GraphError: If it is no ONNX graph.
    """
    model = graph.load(path)
    arrays = graph.initializers(model)
    return Description(
        path=str(path),
        opset={entry.domain or "ai.onnx": entry.version for entry in model.opset_import},
        batch=graph.metadata(model).get(BATCH),
        inputs=[value.name for value in model.graph.input],
        outputs=[value.name for value in model.graph.output],
        operators=dict(Counter(node.op_type for node in model.graph.node).most_common()),
        parameters=int(sum(array.size for array in arrays.values())),
        weight_bytes=int(sum(array.nbytes for array in arrays.values())),
        findings=[str(finding) for finding in check_form(model)],
    )
