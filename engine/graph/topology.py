"""Who produces and who reads each tensor of a graph, of which type: what rewriting and rules stand on."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from onnx import ModelProto, NodeProto, TensorProto, numpy_helper

FLOATS = (TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.BFLOAT16)
LAYOUT = ("Reshape", "Transpose", "Unsqueeze", "Squeeze", "Identity", "Cast", "Flatten", "Expand")
"""Operators that move numbers without computing with them."""
_MOVES = (*(kind for kind in LAYOUT if kind != "Cast"), "Concat", "Slice", "Split", "Gather")

_BOOLEAN = {"Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual", "And", "Or", "Not", "Xor", "IsNaN", "IsInf"}
_INT64 = {"Shape", "ArgMax", "ArgMin", "Size", "NonZero"}


class Topology:
    """A graph with its edges resolved. Changing the graph makes a new one necessary.

    Args:
        model: ``onnx.ModelProto`` without subgraphs; weights may be absent, their headers suffice.

    Attributes:
        nodes: Nodes in execution order.
        producer: Index of the node that makes a tensor, by tensor name.
        consumers: Indices of the nodes that read a tensor, by tensor name.
        constants: Initializers by name.
        types: ONNX element type by tensor name.
    """

    def __init__(self, model: ModelProto) -> None:
        self.model = model
        self.nodes: list[NodeProto] = list(model.graph.node)
        self.producer = {name: i for i, node in enumerate(self.nodes) for name in node.output}
        self.consumers: dict[str, list[int]] = {}
        for i, node in enumerate(self.nodes):
            for name in node.input:
                self.consumers.setdefault(name, []).append(i)
        self.constants: dict[str, TensorProto] = {tensor.name: tensor for tensor in model.graph.initializer}
        self.types: dict[str, int] = {name: tensor.data_type for name, tensor in self.constants.items()}
        for value in model.graph.input:
            self.types[value.name] = value.type.tensor_type.elem_type
        for node in self.nodes:
            for i, name in enumerate(node.output):
                self.types[name] = self._result(node, i)

    def label(self, index: int) -> str:
        """How a node is named to people: its own name, or what it makes."""
        node = self.nodes[index]
        return f"{node.name or node.output[0]} ({node.op_type})"

    def is_linear(self, index: int) -> bool:
        """Whether a node multiplies by a weight matrix or kernel."""
        node = self.nodes[index]
        if node.op_type not in ("MatMul", "Gemm", "Conv"):
            return False
        tensors = [self.constants[name] for name in node.input[:2] if name in self.constants]
        return any(len(tensor.dims) >= 2 for tensor in tensors)

    def readers(self, index: int) -> Iterator[int]:
        """Nodes that read what a node makes."""
        for name in self.nodes[index].output:
            yield from self.consumers.get(name, ())

    def source(self, name: str, through: tuple[str, ...] = LAYOUT) -> int | None:
        """The node a tensor comes from, looking through operators that only move numbers."""
        index = self.producer.get(name)
        while index is not None and self.nodes[index].op_type in through:
            index = self.producer.get(self.nodes[index].input[0])
        return index

    def scalar(self, name: str) -> float | None:
        """Value of a constant with one element, or None."""
        tensor = self.constants.get(name)
        if tensor is None or int(np.prod(tensor.dims)) != 1:
            return None
        return float(numpy_helper.to_array(tensor).reshape(()))

    def _result(self, node: NodeProto, position: int) -> int:
        kind = node.op_type
        if kind == "Cast":
            return next(int(a.i) for a in node.attribute if a.name == "to")
        if kind in _BOOLEAN:
            return int(TensorProto.BOOL)
        if kind in _INT64 or (kind == "TopK" and position == 1):
            return int(TensorProto.INT64)
        if kind == "Constant":
            return next((int(a.t.data_type) for a in node.attribute if a.name == "value"), int(TensorProto.FLOAT))
        if kind == "ConstantOfShape":
            return next((int(a.t.data_type) for a in node.attribute if a.name == "value"), int(TensorProto.FLOAT))
        if kind == "DequantizeLinear":
            return self.types.get(node.input[1], int(TensorProto.FLOAT))
        if kind == "QuantizeLinear":
            return self.types.get(node.input[2], int(TensorProto.UINT8)) if len(node.input) > 2 else 2
        decisive = 1 if kind == "Where" else 0
        return self.types.get(node.input[decisive], 0) if len(node.input) > decisive else 0


def full_precision_region(topology: Topology) -> set[int]:
    """Nodes that compute in FP32 although the rest runs in half: LayerNorm, the residual stream, the scores.

    Args:
        topology: Of the graph.

    Returns:
        Indices of nodes.
    """
    norms = {i for i, node in enumerate(topology.nodes) if node.op_type == "LayerNormalization"}
    return norms | residual_stream(topology) | scores_region(topology)


def residual_stream(topology: Topology) -> set[int]:
    """The sums that a LayerNorm reads, the biases that enter them, and what only moves them.

    Trained transformers carry values of hundreds in a few fixed channels of this stream. Half has steps of 0.125
    there, as large as what an image changes, and every layer would round again. In FP32 the stream also needs no
    more Casts: the ones in front of each LayerNorm move behind each product.

    Args:
        topology: Of the graph.

    Returns:
        Indices of nodes, LayerNormalization left out.
    """
    stream: set[int] = set()
    queue = [(node.input[0], False) for node in topology.nodes if node.op_type == "LayerNormalization"]
    while queue:
        name, summed = queue.pop()
        index = topology.producer.get(name)
        if index is None or index in stream:
            continue
        node = topology.nodes[index]
        if node.op_type == "Add":
            sum_of_two = not any(term in topology.constants for term in node.input)
            if sum_of_two or summed:
                stream.add(index)
            if sum_of_two:
                queue += [(term, True) for term in node.input]
        elif node.op_type in _MOVES:
            stream.add(index)
            queue += [(part, summed) for part in (node.input if node.op_type == "Concat" else node.input[:1])]
    return stream


def scores_region(topology: Topology) -> set[int]:
    """What makes scores of features: needs FP32 whatever the activations are.

    Every L2 norm (its sum of squares overflows half at real CLIP activations), the cosines it feeds, the
    division by the temperature, and whatever follows until the next weight matrix. At a temperature of 0.01 a
    cosine rounded to half costs 0.067 of probability by itself.

    Args:
        topology: Of the graph.

    Returns:
        Indices of nodes, LayerNormalization left out.
    """
    region: set[int] = set()
    queue = [i for i in range(len(topology.nodes)) if _starts_norm(topology, i)]
    while queue:
        index = queue.pop()
        if index in region:
            continue
        region.add(index)
        for reader in topology.readers(index):
            kind = topology.nodes[reader].op_type
            if kind in ("Shape", "LayerNormalization"):
                continue
            if topology.is_linear(reader) and not _is_cosine(topology, reader):
                continue
            queue.append(reader)
    return region


def _starts_norm(topology: Topology, index: int) -> bool:
    node = topology.nodes[index]
    if node.op_type == "ReduceL2":
        return True
    square = (node.op_type == "Pow" and topology.scalar(node.input[1]) == 2) or (
        node.op_type == "Mul" and node.input[0] == node.input[1]
    )
    summed = any(topology.nodes[r].op_type == "ReduceSum" for r in topology.readers(index))
    return square and summed


def _is_cosine(topology: Topology, index: int) -> bool:
    """Whether one factor of a product has just been scaled to length 1."""
    for name in topology.nodes[index].input:
        made = topology.source(name)
        if made is None or topology.nodes[made].op_type not in ("Mul", "Div"):
            continue
        for factor in topology.nodes[made].input:
            root = topology.source(factor)
            if root is not None and topology.nodes[root].op_type in ("Reciprocal", "Sqrt", "ReduceL2"):
                return True
    return False
