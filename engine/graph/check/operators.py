"""Operators and types that TensorRT's ONNX parser takes: at opset 18 from 10.3 on, at opset 23 from 10.14 on.

After the support matrix of the onnx-tensorrt project; operators that no expression model needs are left out,
so that a new one is looked at before it is let in.
"""

from __future__ import annotations

from onnx import TensorProto

_F = frozenset({TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.BFLOAT16})
_I = frozenset({TensorProto.INT32, TensorProto.INT64})
_B = frozenset({TensorProto.BOOL})
_ALL = _F | _I | _B

ALLOWED: dict[str, frozenset[int]] = {
    **dict.fromkeys(
        ("Ceil", "Conv", "Erf", "Exp", "Floor", "Gelu", "Gemm", "LayerNormalization", "Log", "LogSoftmax",
         "LSTM", "MatMul", "MaxPool", "AveragePool", "GlobalAveragePool", "Pow", "Reciprocal", "ReduceL2",
         "ReduceLogSumExp", "ReduceSumSquare", "Relu", "Sigmoid", "HardSigmoid", "HardSwish", "Softmax",
         "Softplus", "Sqrt", "Tanh", "BatchNormalization", "InstanceNormalization", "CumSum", "Attention"), _F
    ),
    **dict.fromkeys(
        ("Abs", "Add", "ArgMax", "Clip", "Div", "Max", "Min", "Mod", "Mul", "Neg", "Pad", "Range", "ReduceMax",
         "ReduceMean", "ReduceMin", "ReduceProd", "ReduceSum", "Sub", "Sum", "TopK"), _F | _I
    ),
    **dict.fromkeys(("And", "Not", "Or", "Xor"), _B),
    **dict.fromkeys(
        ("Concat", "Constant", "ConstantOfShape", "Expand", "Equal", "Flatten", "Gather", "GatherElements",
         "GatherND", "Greater", "GreaterOrEqual", "Identity", "IsNaN", "Less", "LessOrEqual", "Reshape", "Shape",
         "Slice", "Split", "Squeeze", "Tile", "Transpose", "Trilu", "Unsqueeze", "Where", "ScatterElements"),
         _ALL
    ),
    "Cast": _ALL | {TensorProto.UINT8},
    "QuantizeLinear": _F | {TensorProto.INT8},
    "DequantizeLinear": _F | {TensorProto.INT8},
}  # fmt: skip
"""Element types a node may read and write, by operator."""

SINCE = {"Gelu": 20, "Attention": 23}
"""First opset of the operators that 18 does not have."""

AT_THE_EDGE = frozenset({"Cast", "Shape"})
"""What may read the uint8 crops: TensorRT has bytes at a network's edge only."""
