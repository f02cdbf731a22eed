"""EfficientNet-B0 with random weights as an ONNX graph: HSEmotion's shape, so its speed, and nothing else.

Tan and Le, EfficientNet, ICML 2019, table 1; batch normalisation is folded into the convolutions, as exporters do.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import NodeProto, TensorProto, helper, numpy_helper

# Expansion, kernel, stride of the first, channels, repeats.
_STAGES = (
    (1, 3, 1, 16, 1),
    (6, 3, 2, 24, 2),
    (6, 5, 2, 40, 2),
    (6, 3, 2, 80, 3),
    (6, 5, 1, 112, 3),
    (6, 5, 2, 192, 4),
    (6, 3, 1, 320, 1),
)
_SIDE_PX = 224


class _Graph:
    """Nodes and weights in the making."""

    def __init__(self) -> None:
        self.nodes: list[NodeProto] = []
        self.weights: list[TensorProto] = []
        self._random = np.random.default_rng(0)
        self._count = 0

    def add(self, kind: str, *inputs: str, **attributes: Any) -> str:
        self._count += 1
        name = f"{kind.lower()}{self._count}"
        self.nodes.append(helper.make_node(kind, list(inputs), [name], **attributes))
        return name

    def weight(self, *shape: int) -> str:
        self._count += 1
        name = f"weight{self._count}"
        fan_in = max(1, int(np.prod(shape[1:])))
        values = self._random.normal(0, fan_in**-0.5, shape).astype(np.float32)
        self.weights.append(numpy_helper.from_array(values, name))
        return name

    def swish(self, x: str) -> str:
        return self.add("Mul", x, self.add("Sigmoid", x))

    def convolution(self, x: str, inside: int, outside: int, side: int = 1, stride: int = 1, groups: int = 1) -> str:
        weights = (self.weight(outside, inside // groups, side, side), self.weight(outside))
        pads = [(side - 1) // 2] * 4
        return self.add("Conv", x, *weights, kernel_shape=[side, side], strides=[stride] * 2, pads=pads, group=groups)

    def block(self, x: str, inside: int, outside: int, expansion: int, side: int, stride: int) -> str:
        """Inverted bottleneck with squeeze and excitation."""
        wide, left = inside * expansion, x
        if expansion > 1:
            x = self.swish(self.convolution(x, inside, wide))
        x = self.swish(self.convolution(x, wide, wide, side, stride, wide))
        narrow = max(1, inside // 4)
        gate = self.swish(self.convolution(self.add("GlobalAveragePool", x), wide, narrow))
        x = self.add("Mul", x, self.add("Sigmoid", self.convolution(gate, narrow, wide)))
        x = self.convolution(x, wide, outside)
        return self.add("Add", x, left) if stride == 1 and inside == outside else x


def write_efficientnet_b0(path: Path, classes: int = 8) -> None:
    """Write the graph, input ``input`` (1, 3, 224, 224) float32, output ``output`` (1, classes) logits."""
    graph = _Graph()
    x, inside = graph.swish(graph.convolution("input", 3, 32, 3, 2)), 32
    for expansion, side, stride, outside, repeats in _STAGES:
        for index in range(repeats):
            x = graph.block(x, inside, outside, expansion, side, stride if index == 0 else 1)
            inside = outside
    x = graph.add("Flatten", graph.add("GlobalAveragePool", graph.swish(graph.convolution(x, inside, 1280))))
    graph.nodes.append(helper.make_node("Gemm", [x, graph.weight(1280, classes), graph.weight(classes)], ["output"]))
    model = helper.make_model(
        helper.make_graph(
            graph.nodes,
            "efficientnet-b0",
            [helper.make_tensor_value_info("input", TensorProto.FLOAT, [1, 3, _SIDE_PX, _SIDE_PX])],
            [helper.make_tensor_value_info("output", TensorProto.FLOAT, [1, classes])],
            graph.weights,
        ),
        opset_imports=[helper.make_opsetid("", 17)],
        ir_version=8,
    )
    onnx.checker.check_model(model)
    path.parent.mkdir(parents=True, exist_ok=True)
    onnx.save(model, path)
