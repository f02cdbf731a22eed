"""Rules that a graph must keep so that TensorRT builds it and FP16 stays correct."""

from __future__ import annotations

from onnx import ModelProto

from engine.bundle.golden import Golden
from engine.graph import half
from engine.graph.check import measured
from engine.graph.check.contract import contract
from engine.graph.check.findings import Finding
from engine.graph.check.rules import RULES
from engine.graph.topology import Topology

__all__ = ["Finding", "check_form", "check_half", "contract"]


def check_form(model: ModelProto) -> list[Finding]:
    """Apply every rule that needs no run.

    Args:
        model: ``onnx.ModelProto``, FP32 or mixed FP16.

    Returns:
        Broken rules; empty if there is none.
    """
    topology = Topology(model)
    return [finding for rule in RULES for finding in rule(topology)]


def check_half(encoder: ModelProto, head: ModelProto, golden: Golden) -> list[Finding]:
    """Run mixed-FP16 graphs with rounding after every node and apply the rules on what came out.

    Args:
        encoder: Mixed-FP16 encoder.
        head: Mixed-FP16 head.
        golden: Of the FP32 graphs.

    Returns:
        Broken rules; empty if there is none.
    """
    run = half.run(encoder, head, golden)
    return [*measured.activation_range(run), *measured.rounding(run, golden)]
