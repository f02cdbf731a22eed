"""An ONNX graph as a torch module: the very nodes of the bundle, run by torch. Needs torch and onnx."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor, nn
from torch.nn import functional

from engine.backends.protocol import BackendError

_TYPES = {
    TensorProto.FLOAT: torch.float32,
    TensorProto.FLOAT16: torch.float16,
    TensorProto.INT64: torch.int64,
    TensorProto.INT32: torch.int32,
    TensorProto.BOOL: torch.bool,
    TensorProto.UINT8: torch.uint8,
}


class OnnxModule(nn.Module):
    """Runs a graph node by node.

    Shapes and axes stay on the host, so that a run never waits for the device and can be captured as a CUDA graph.

    Args:
        model: ``onnx.ModelProto`` with its weights.
        half: What FP16 of the graph becomes: ``torch.float16`` or ``torch.bfloat16``.

    Raises:
        BackendError: If the graph has an operator this module does not know.
    """

    def __init__(self, model: Any, half: torch.dtype = torch.float16) -> None:
        super().__init__()
        self.half_type = half
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
        self._steps: list[tuple[str, list[str], list[str], dict[str, Any]]] = []
        for node in model.graph.node:
            if node.op_type not in _OPERATORS:
                raise BackendError(f"the torch back end does not know {node.op_type} of {node.name or node.output[0]}")
            attributes = {a.name: helper.get_attribute_value(a) for a in node.attribute}
            self._steps.append((node.op_type, list(node.input), list(node.output), attributes))
        # What follows from shapes and constants alone stays on the host.
        self._shapes = set(self._host)
        for kind, inputs, outputs, _ in self._steps:
            if kind == "Shape" or all(name in self._shapes for name in inputs if name):
                self._shapes.update(outputs)
        self._fixed: dict[str, Tensor] = {}
        self._sizes: dict[str, list[int]] = {}
        last = {name: i for i, (_, inputs, _, _) in enumerate(self._steps) for name in inputs}
        self._drop: list[list[str]] = [[] for _ in self._steps]
        for name, i in last.items():
            if name not in self._names and name not in self.outputs:
                self._drop[i].append(name)

    def forward(self, *arguments: Tensor) -> tuple[Tensor, ...]:
        """Run the graph on its inputs, in the graph's order."""
        values = self._run(arguments, drop=True)
        return tuple(values[name] for name in self.outputs)

    def fix_shapes(self, *arguments: Tensor) -> None:
        """Take all shapes from one run and compute none from now on: ``torch.export`` cannot read a size from a tensor.

        Args:
            arguments: Inputs of the shapes that every later run has.
        """
        values = self._run(arguments, drop=False)
        self._fixed = {**self._host, **{name: values[name] for name in self._shapes if name in values}}
        self._sizes = {name: _ints(value) for name, value in self._fixed.items()}

    def _run(self, arguments: tuple[Tensor, ...], drop: bool) -> dict[str, Tensor]:
        values: dict[str, Tensor] = dict(zip(self.inputs, arguments, strict=True))
        for (kind, inputs, outputs, attributes), done in zip(self._steps, self._drop, strict=True):
            if self._fixed and all(name in self._fixed for name in outputs):
                continue
            host = kind == "Shape" or all(name in self._shapes for name in inputs if name)
            sizes = _HOST_ARGUMENTS.get(kind, ())
            taken = [
                self._sizes[n] if i in sizes and n in self._fixed else self._value(values, n, host or i in sizes)
                for i, n in enumerate(inputs)
            ]
            result = _OPERATORS[kind](self, attributes, *taken)
            for name, value in zip(outputs, result if isinstance(result, tuple) else (result,), strict=False):
                values[name] = value
            for name in done if drop else ():
                values.pop(name, None)
        return values

    def _value(self, values: dict[str, Tensor], name: str, host: bool) -> Tensor | None:
        if not name:
            return None
        if name in values:
            return values[name]
        if name in self._fixed and name not in self._names:
            return self._fixed[name]
        if host and name in self._host:
            return self._host[name]
        constant: Tensor = getattr(self, self._names[name])
        return constant


def _ints(value: Tensor | list[int] | None) -> list[int]:
    if isinstance(value, list):
        return value
    return [] if value is None else [int(v) for v in value.reshape(-1).tolist()]


def _cast(module: OnnxModule, attributes: dict[str, Any], x: Tensor) -> Tensor:
    kind = _TYPES[attributes["to"]]
    return x.to(module.half_type if kind == torch.float16 else kind)


def _shape(module: OnnxModule, attributes: dict[str, Any], x: Tensor) -> Tensor:
    shape = list(x.shape)[attributes.get("start", 0) : attributes.get("end")]
    return torch.tensor(shape, dtype=torch.int64)


def _gather(module: OnnxModule, attributes: dict[str, Any], x: Tensor, index: Tensor) -> Tensor:
    axis = attributes.get("axis", 0) % x.dim()
    flat = index.reshape(-1).to(x.device)
    taken = x.index_select(axis, torch.where(flat < 0, flat + x.shape[axis], flat))
    return taken.reshape(*x.shape[:axis], *index.shape, *x.shape[axis + 1 :])


def _conv(module: OnnxModule, attributes: dict[str, Any], x: Tensor, w: Tensor, b: Tensor | None = None) -> Tensor:
    dims = w.dim() - 2
    x, padding = _padded(x, attributes, dims, 0.0)
    function: Callable[..., Tensor] = {1: functional.conv1d, 2: functional.conv2d, 3: functional.conv3d}[dims]
    strides, dilations = attributes.get("strides", [1] * dims), attributes.get("dilations", [1] * dims)
    return function(x, w, b, list(strides), padding, list(dilations), attributes.get("group", 1))


def _padded(x: Tensor, attributes: dict[str, Any], dims: int, fill: float) -> tuple[Tensor, list[int]]:
    pads = list(attributes.get("pads", [0] * 2 * dims))
    if pads[:dims] == pads[dims:]:
        return x, pads[:dims]
    order = [p for d in reversed(range(dims)) for p in (pads[d], pads[d + dims])]
    return functional.pad(x, order, value=fill), [0] * dims


def _average_pool(module: OnnxModule, attributes: dict[str, Any], x: Tensor) -> Tensor:
    dims = x.dim() - 2
    count = bool(attributes.get("count_include_pad", 0))
    kernel, strides = list(attributes["kernel_shape"]), list(attributes.get("strides", [1] * dims))
    pads = list(attributes.get("pads", [0] * 2 * dims))
    function: Callable[..., Tensor] = functional.avg_pool1d if dims == 1 else functional.avg_pool2d
    return function(x, kernel, strides, pads[:dims], bool(attributes.get("ceil_mode", 0)), count)


def _max_pool(module: OnnxModule, attributes: dict[str, Any], x: Tensor) -> Tensor:
    dims = x.dim() - 2
    x, padding = _padded(x, attributes, dims, float("-inf"))
    function: Callable[..., Tensor] = functional.max_pool1d if dims == 1 else functional.max_pool2d
    strides = list(attributes.get("strides", [1] * dims))
    return function(x, list(attributes["kernel_shape"]), strides, padding, ceil_mode=bool(attributes.get("ceil_mode")))


def _gemm(module: OnnxModule, attributes: dict[str, Any], a: Tensor, b: Tensor, c: Tensor | None = None) -> Tensor:
    a = a.T if attributes.get("transA") else a
    b = b.T if attributes.get("transB") else b
    y = a @ b * attributes.get("alpha", 1.0) if attributes.get("alpha", 1.0) != 1.0 else a @ b
    return y if c is None else y + c * attributes.get("beta", 1.0)


def _layer_norm(
    module: OnnxModule, attributes: dict[str, Any], x: Tensor, w: Tensor, b: Tensor | None = None
) -> Tensor:
    axis = attributes.get("axis", -1) % x.dim()
    return functional.layer_norm(x, x.shape[axis:], w, b, attributes.get("epsilon", 1e-5))


def _reshape(module: OnnxModule, attributes: dict[str, Any], x: Tensor, shape: Tensor) -> Tensor:
    sizes = _ints(shape)
    if not attributes.get("allowzero"):
        sizes = [x.shape[i] if size == 0 else size for i, size in enumerate(sizes)]
    return x.reshape(sizes)


def _expand(module: OnnxModule, attributes: dict[str, Any], x: Tensor, shape: Tensor) -> Tensor:
    # ONNX broadcasts both ways: a 1 in the wanted shape keeps the tensor's own size.
    wanted = _ints(shape)
    own = [1] * (len(wanted) - x.dim()) + list(x.shape)
    wanted = [1] * (len(own) - len(wanted)) + wanted
    return x.expand([max(a, b) for a, b in zip(own, wanted, strict=True)])


def _slice(
    module: OnnxModule,
    attributes: dict[str, Any],
    x: Tensor,
    starts: Tensor,
    ends: Tensor,
    axes: Tensor | None = None,
    steps: Tensor | None = None,
) -> Tensor:
    first, last = _ints(starts), _ints(ends)
    along = _ints(axes) or list(range(len(first)))
    for axis, start, end, step in zip(along, first, last, _ints(steps) or [1] * len(first), strict=True):
        size = x.shape[axis]
        chosen = range(size)[slice(start, max(min(end, size), -size - 1) if step < 0 else end, step)]
        x = (
            x.narrow(axis, chosen.start, len(chosen))
            if step == 1
            else x.index_select(axis, torch.tensor(list(chosen), device=x.device))
        )
    return x


def _split(module: OnnxModule, attributes: dict[str, Any], x: Tensor, sizes: Tensor | None = None) -> Any:
    axis = attributes.get("axis", 0)
    if sizes is not None:
        return torch.split_with_sizes(x, _ints(sizes), axis)
    count = attributes["num_outputs"]
    return torch.chunk(x, count, axis)


def _squeeze(module: OnnxModule, attributes: dict[str, Any], x: Tensor, axes: Tensor | None = None) -> Tensor:
    return x.squeeze(tuple(_ints(axes))) if axes is not None else x.squeeze()


def _unsqueeze(module: OnnxModule, attributes: dict[str, Any], x: Tensor, axes: Tensor) -> Tensor:
    places = _ints(axes)
    for axis in sorted(a % (x.dim() + len(places)) for a in places):
        x = x.unsqueeze(axis)
    return x


def _gather_elements(module: OnnxModule, attributes: dict[str, Any], x: Tensor, index: Tensor) -> Tensor:
    return x.gather(attributes.get("axis", 0), index.to(x.device, torch.int64))


def _arg_max(module: OnnxModule, attributes: dict[str, Any], x: Tensor) -> Tensor:
    return x.argmax(attributes.get("axis", 0), bool(attributes.get("keepdims", 1)))


def _reduction(function: Callable[[Tensor, list[int], bool], Tensor]) -> Callable[..., Tensor]:
    def reduce(module: OnnxModule, attributes: dict[str, Any], x: Tensor, axes: Tensor | None = None) -> Tensor:
        along = _ints(axes) or list(range(x.dim()))
        return function(x, along, bool(attributes.get("keepdims", 1)))

    return reduce


def _clip(
    module: OnnxModule, attributes: dict[str, Any], x: Tensor, low: Tensor | None = None, high: Tensor | None = None
) -> Tensor:
    return x.clamp(low, high)


def _pointwise(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
    def apply(module: OnnxModule, attributes: dict[str, Any], *values: Tensor) -> Tensor:
        return function(*values)

    return apply


def _identity(x: Tensor) -> Tensor:
    return x


def _divide(x: Tensor, y: Tensor) -> Tensor:
    return x / y if x.is_floating_point() else torch.div(x, y, rounding_mode="trunc")


_POINTWISE: dict[str, Callable[..., Tensor]] = {
    "Abs": torch.abs,
    "Add": torch.add,
    "And": torch.logical_and,
    "Div": _divide,
    "Equal": torch.eq,
    "Erf": torch.erf,
    "Exp": torch.exp,
    "Greater": torch.gt,
    "GreaterOrEqual": torch.ge,
    "Identity": _identity,
    "Less": torch.lt,
    "LessOrEqual": torch.le,
    "Log": torch.log,
    "MatMul": torch.matmul,
    "Max": torch.maximum,
    "Min": torch.minimum,
    "Mul": torch.mul,
    "Neg": torch.neg,
    "Not": torch.logical_not,
    "Or": torch.logical_or,
    "Pow": torch.pow,
    "Reciprocal": torch.reciprocal,
    "Relu": torch.relu,
    "Sigmoid": torch.sigmoid,
    "Sqrt": torch.sqrt,
    "Sub": torch.sub,
    "Tanh": torch.tanh,
    "Where": torch.where,
}
_OPERATORS: dict[str, Callable[..., Any]] = {
    "ArgMax": _arg_max,
    "AveragePool": _average_pool,
    "Cast": _cast,
    "Clip": _clip,
    "Concat": lambda module, attributes, *values: torch.cat(values, attributes["axis"]),
    "Conv": _conv,
    "Expand": _expand,
    "Gather": _gather,
    "GatherElements": _gather_elements,
    "Gemm": _gemm,
    "LayerNormalization": _layer_norm,
    "MaxPool": _max_pool,
    "ReduceMax": _reduction(lambda x, axes, keep: x.amax(axes, keep)),
    "ReduceMean": _reduction(lambda x, axes, keep: x.mean(axes, keep)),
    "ReduceMin": _reduction(lambda x, axes, keep: x.amin(axes, keep)),
    "ReduceSum": _reduction(lambda x, axes, keep: x.sum(axes, keep)),
    "Reshape": _reshape,
    "Shape": _shape,
    "Slice": _slice,
    "Softmax": lambda module, attributes, x: x.softmax(attributes.get("axis", -1)),
    "Split": _split,
    "Squeeze": _squeeze,
    "Transpose": lambda module, attributes, x: x.permute(attributes["perm"]),
    "Unsqueeze": _unsqueeze,
    **{name: _pointwise(function) for name, function in _POINTWISE.items()},
}
_HOST_ARGUMENTS: dict[str, tuple[int, ...]] = {
    "Expand": (1,),
    "ReduceMax": (1,),
    "ReduceMean": (1,),
    "ReduceMin": (1,),
    "ReduceSum": (1,),
    "Reshape": (1,),
    "Slice": (1, 2, 3, 4),
    "Split": (1,),
    "Squeeze": (1,),
    "Unsqueeze": (1,),
}
