"""What one run of a graph must at least read and multiply."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
from onnx import NodeProto, TensorProto, shape_inference

from engine.graph.convert import with_batch


@dataclass(frozen=True)
class Cost:
    """Of one run at batch 1.

    Attributes:
        weight_bytes: Bytes of weights, each read once.
        macs: Multiply-adds of matrix products and convolutions.
    """

    weight_bytes: int
    macs: int


def encoder_cost(path: Path) -> Cost:
    """Count an encoder's weights and multiply-adds.

    Args:
        path: ``encoder.onnx``; its weights are not read.

    Returns:
        The counts.
    """
    model = with_batch(onnx.load(str(path), load_external_data=False), 1)
    inferred = shape_inference.infer_shapes(model, data_prop=True)
    shapes: dict[str, list[int]] = {t.name: list(t.dims) for t in model.graph.initializer}
    for value in (*inferred.graph.value_info, *inferred.graph.input, *inferred.graph.output):
        shapes[value.name] = [d.dim_value or 1 for d in value.type.tensor_type.shape.dim]
    weights = sum(_bytes(t) for t in model.graph.initializer)
    return Cost(weights, sum(_macs(node, shapes) for node in model.graph.node))


def _macs(node: NodeProto, shapes: dict[str, list[int]]) -> int:
    if node.op_type not in ("MatMul", "Gemm", "Conv") or node.output[0] not in shapes:
        return 0
    out = int(np.prod(shapes[node.output[0]]))
    second = shapes.get(node.input[1], [])
    if node.op_type == "Conv":
        return out * int(np.prod(second[1:]))
    transposed = any(a.name == "transB" and a.i for a in node.attribute)
    return out * (second[-1] if transposed else second[-2]) if len(second) >= 2 else 0


def _bytes(tensor: TensorProto) -> int:
    size: int = onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type).itemsize
    return int(np.prod(tensor.dims)) * size
