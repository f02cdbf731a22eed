"""Rules a graph keeps by its form alone: each a small function from a graph to the nodes that break it."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
from onnx import TensorProto, numpy_helper

from engine.graph.check.findings import Finding
from engine.graph.check.operators import ALLOWED, AT_THE_EDGE, SINCE
from engine.graph.topology import FLOATS, LAYOUT, Topology, residual_stream, scores_region

OPSETS = (18, 23)
LIMIT = 16384.0
"""Largest magnitude allowed in FP16: a quarter of its range, as crops of other faces will exceed the ones seen."""


def opset(graph: Topology) -> Iterator[Finding]:
    """The opset is one that a supported TensorRT parses."""
    versions = {entry.domain or "ai.onnx": entry.version for entry in graph.model.opset_import}
    if versions.get("ai.onnx") not in OPSETS:
        yield Finding("opset", "graph", f"opset {versions.get('ai.onnx')}, must be one of {OPSETS}")
    for domain in sorted(set(versions) - {"ai.onnx"}):
        for i, node in enumerate(graph.nodes):
            if node.domain == domain:
                yield Finding("opset", graph.label(i), f"operator of the foreign domain {domain!r}")


def operators(graph: Topology) -> Iterator[Finding]:
    """Every operator and type is on TensorRT's list, and every operator exists in the graph's opset."""
    version = next((e.version for e in graph.model.opset_import if e.domain in ("", "ai.onnx")), 0)
    for i, node in enumerate(graph.nodes):
        allowed = ALLOWED.get(node.op_type)
        newer = SINCE.get(node.op_type, 0)
        if version < newer:
            yield Finding("operators", graph.label(i), f"{node.op_type} exists from opset {newer} on, not in {version}")
        if allowed is None:
            yield Finding("operators", graph.label(i), f"TensorRT's parser has no {node.op_type}")
            continue
        if node.op_type in AT_THE_EDGE and node.input[0] == "crops":
            continue
        for name in (*node.input, *node.output):
            kind = graph.types.get(name)
            if name and kind is not None and not _takes(node.op_type, kind, allowed):
                shown = TensorProto.DataType.Name(kind)
                yield Finding("operators", graph.label(i), f"{name} is {shown}, which {node.op_type} does not take")


def layer_norm_full(graph: Topology) -> Iterator[Finding]:
    """LayerNorm computes in FP32."""
    for i, node in enumerate(graph.nodes):
        if node.op_type == "LayerNormalization":
            for name in (*node.input, *node.output):
                if name and graph.types.get(name) != TensorProto.FLOAT:
                    yield Finding("layer-norm-fp32", graph.label(i), f"{name} is not FP32")


def residual_full(graph: Topology) -> Iterator[Finding]:
    """The residual stream between LayerNorms is FP32: half has steps of 0.125 at the magnitudes it carries."""
    for i in sorted(residual_stream(graph)):
        for name in _below_full(graph, i):
            yield Finding("residual-fp32", graph.label(i), f"{name} of the residual stream is not FP32")


def attention_casts(graph: Topology) -> Iterator[Finding]:
    """Nothing casts between the products of an attention: a Cast there keeps TensorRT from fusing it."""
    for _, between in _attentions(graph):
        for i in between:
            if graph.nodes[i].op_type == "Cast":
                yield Finding("attention-cast", graph.label(i), "a Cast between MatMul, Softmax and MatMul")


def attention_scale(graph: Topology) -> Iterator[Finding]:
    """An attention is scaled once, before its first product: after it, the scores may leave half's range."""
    for first, between in _attentions(graph):
        for i in between:
            if graph.nodes[i].op_type in ("Mul", "Div"):
                yield Finding("attention-scale", graph.label(i), "scales after the first product, not before")
        scales = [s for name in graph.nodes[first].input for s in _scales(graph, name)]
        if len(scales) > 1:
            for i in scales[1:]:
                yield Finding("attention-scale", graph.label(i), "scales a second time")
        elif not scales and not any(graph.nodes[i].op_type in ("Mul", "Div") for i in between):
            yield Finding("attention-scale", graph.label(first), "the first product's factors are not scaled")


def weight_range(graph: Topology) -> Iterator[Finding]:
    """Weights in FP16 are finite and at most a quarter of its range."""
    for name, tensor in graph.constants.items():
        if tensor.data_type == TensorProto.FLOAT16:
            array = numpy_helper.to_array(tensor)
            peak = float(np.max(np.abs(array.astype(np.float32)), initial=0.0))
            if not peak <= LIMIT:
                yield Finding("weight-range", name, f"largest magnitude {peak:.4g} exceeds {LIMIT:g} in FP16")


def scores_full(graph: Topology) -> Iterator[Finding]:
    """Norms, cosines and the temperature compute in FP32, and scores leave the graph in FP32."""
    for i in sorted(scores_region(graph)):
        if graph.nodes[i].op_type not in ("LayerNormalization", "Cast"):
            for name in _below_full(graph, i):
                yield Finding("scores-fp32", graph.label(i), f"{name} of a norm, cosine or temperature is not FP32")
    for value in graph.model.graph.output:
        if value.name != "features" and graph.types.get(value.name) != TensorProto.FLOAT:
            made = graph.producer.get(value.name)
            where = value.name if made is None else graph.label(made)
            yield Finding("scores-fp32", where, f"the output {value.name} is not FP32")


RULES: tuple[Callable[[Topology], Iterator[Finding]], ...] = (
    opset,
    operators,
    layer_norm_full,
    residual_full,
    attention_casts,
    attention_scale,
    weight_range,
    scores_full,
)


def _below_full(graph: Topology, index: int) -> list[str]:
    """The first number a node reads or writes that is a float of less than 32 bits, in a list, or none."""
    names = (*graph.nodes[index].input, *graph.nodes[index].output)
    return [n for n in names if graph.types.get(n) in FLOATS and graph.types[n] != TensorProto.FLOAT][:1]


def _takes(operator: str, kind: int, allowed: frozenset[int]) -> bool:
    if kind in allowed:
        return True
    # Positions, shapes and conditions come beside the data.
    if kind == TensorProto.INT64 or kind == TensorProto.INT32:
        return operator not in ("Conv", "Gemm", "MatMul", "Softmax", "LayerNormalization", "Sigmoid", "Tanh", "Exp")
    return kind == TensorProto.BOOL and operator == "Where"


def _attentions(graph: Topology) -> Iterator[tuple[int, list[int]]]:
    """First product and the nodes between it and the second one, for every attention in the graph."""
    region = scores_region(graph)
    for i, node in enumerate(graph.nodes):
        if node.op_type != "Softmax" or i in region:
            continue
        before, index = [], graph.producer.get(node.input[0])
        while index is not None and graph.nodes[index].op_type in (*LAYOUT, "Add", "Where", "Mul", "Div"):
            before.append(index)
            index = next((graph.producer[n] for n in graph.nodes[index].input if n in graph.producer), None)
        if index is None or graph.nodes[index].op_type != "MatMul" or graph.is_linear(index):
            continue
        after: list[int] = []
        readers = list(graph.readers(i))
        while len(readers) == 1 and graph.nodes[readers[0]].op_type in (*LAYOUT, "Mul", "Div"):
            after.append(readers[0])
            readers = list(graph.readers(readers[0]))
        if any(graph.nodes[r].op_type == "MatMul" for r in readers):
            yield index, [*before, i, *after]


def _scales(graph: Topology, name: str) -> list[int]:
    """Multiplications by one number between a weight matrix and a factor of the first product."""
    found: list[int] = []
    index = graph.producer.get(name)
    while index is not None and not graph.is_linear(index):
        node = graph.nodes[index]
        if node.op_type in ("Mul", "Div") and any(graph.scalar(n) is not None for n in node.input):
            found.append(index)
        elif node.op_type not in (*LAYOUT, "Split", "Slice", "Gather", "Add", "Concat", "Mul", "Div"):
            break
        index = next((graph.producer[n] for n in node.input if n in graph.producer), None)
    return found
