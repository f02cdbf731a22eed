"""An ONNX graph as a torch module: the very nodes of the bundle, run by torch. Needs torch and onnx."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper
from torch import Tensor, nn

from engine.backends.protocol import BackendError
from engine.backends.torch_operators import HOST_ARGUMENTS, OPERATORS

_TYPES = {
    TensorProto.FLOAT: torch.float32,
    TensorProto.INT64: torch.int64,
    TensorProto.INT32: torch.int32,
    TensorProto.BOOL: torch.bool,
    TensorProto.UINT8: torch.uint8,
}


@dataclass
class _Step:
    """One node: what it computes, which inputs are taken from the host, and what nobody reads after it."""

    kind: str
    inputs: list[str]
    outputs: list[str]
    attributes: dict[str, Any]
    on_host: list[bool] = field(default_factory=list)
    drop: list[str] = field(default_factory=list)


class OnnxModule(nn.Module):
    """Runs a graph node by node.

    Shapes and axes stay on the host, so that a run never waits for the device and can be captured as a CUDA graph.

    Args:
        model: ``onnx.ModelProto`` with its weights.
        half: What FP16 of the graph becomes: ``torch.float16`` or ``torch.bfloat16``.

    Raises:
        BackendError: If the graph has an operator this module does not know.
    """

    def __init__(self, model: ModelProto, half: torch.dtype = torch.float16) -> None:
        super().__init__()
        self.inputs = [value.name for value in model.graph.input]
        self.outputs = [value.name for value in model.graph.output]
        self._host: dict[str, Tensor] = {}
        self._names: dict[str, str] = {}
        for i, tensor in enumerate(model.graph.initializer):
            array = torch.from_numpy(np.array(numpy_helper.to_array(tensor)))
            if array.dtype == torch.float16:
                array = array.to(half)
            if array.dtype in (torch.int64, torch.int32):
                self._host[tensor.name] = array
            self._names[tensor.name] = f"constant_{i}"
            self.register_buffer(f"constant_{i}", array)
        self._steps = [self._step(node, half) for node in model.graph.node]
        # What follows from shapes and constants alone stays on the host.
        shapes = set(self._host)
        for step in self._steps:
            alone = step.kind == "Shape" or all(name in shapes for name in step.inputs if name)
            sizes = HOST_ARGUMENTS.get(step.kind, ())
            step.on_host = [alone or i in sizes for i in range(len(step.inputs))]
            if alone:
                shapes.update(step.outputs)
        last = {name: step for step in self._steps for name in step.inputs}
        for name, step in last.items():
            if name not in self._names and name not in self.outputs:
                step.drop.append(name)

    def forward(self, *arguments: Tensor) -> tuple[Tensor, ...]:
        """Run the graph on its inputs, in the graph's order."""
        values: dict[str, Tensor] = dict(zip(self.inputs, arguments, strict=True))
        for step in self._steps:
            taken = [self._value(values, *place) for place in zip(step.inputs, step.on_host, strict=True)]
            result = OPERATORS[step.kind](step.attributes, *taken)
            values.update(zip(step.outputs, result if isinstance(result, tuple) else (result,), strict=False))
            for name in step.drop:
                values.pop(name, None)
        return tuple(values[name] for name in self.outputs)

    def _step(self, node: NodeProto, half: torch.dtype) -> _Step:
        label = node.name or node.output[0]
        if node.op_type not in OPERATORS:
            raise BackendError(f"the torch back end does not know {node.op_type} of {label}")
        attributes = {a.name: helper.get_attribute_value(a) for a in node.attribute}
        if node.op_type == "Cast":
            kind = half if attributes["to"] == TensorProto.FLOAT16 else _TYPES.get(attributes["to"])
            if kind is None:
                raise BackendError(f"the torch back end does not know the type that {label} casts to")
            attributes["to"] = kind
        return _Step(node.op_type, list(node.input), list(node.output), attributes)

    def _value(self, values: dict[str, Tensor], name: str, on_host: bool) -> Tensor | None:
        if not name:
            return None
        if name in values:
            return values[name]
        if on_host and name in self._host:
            return self._host[name]
        constant: Tensor = getattr(self, self._names[name])
        return constant
