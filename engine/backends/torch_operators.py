"""ONNX operators in torch, from opset 18 on: those that expression models have."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional


def _ints(value: Tensor | None) -> list[int]:
    return [] if value is None else [int(v) for v in value.reshape(-1).tolist()]


def _cast(attributes: dict[str, Any], x: Tensor) -> Tensor:
    return x.to(attributes["to"])


def _shape(attributes: dict[str, Any], x: Tensor) -> Tensor:
    shape = list(x.shape)[attributes.get("start", 0) : attributes.get("end")]
    return torch.tensor(shape, dtype=torch.int64)


def _gather(attributes: dict[str, Any], x: Tensor, index: Tensor) -> Tensor:
    axis = attributes.get("axis", 0) % x.dim()
    flat = index.reshape(-1).to(x.device)
    taken = x.index_select(axis, torch.where(flat < 0, flat + x.shape[axis], flat))
    return taken.reshape(*x.shape[:axis], *index.shape, *x.shape[axis + 1 :])


def _conv(attributes: dict[str, Any], x: Tensor, w: Tensor, b: Tensor | None = None) -> Tensor:
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


def _average_pool(attributes: dict[str, Any], x: Tensor) -> Tensor:
    dims = x.dim() - 2
    count = bool(attributes.get("count_include_pad", 0))
    kernel, strides = list(attributes["kernel_shape"]), list(attributes.get("strides", [1] * dims))
    pads = list(attributes.get("pads", [0] * 2 * dims))
    function: Callable[..., Tensor] = functional.avg_pool1d if dims == 1 else functional.avg_pool2d
    return function(x, kernel, strides, pads[:dims], bool(attributes.get("ceil_mode", 0)), count)


def _max_pool(attributes: dict[str, Any], x: Tensor) -> Tensor:
    dims = x.dim() - 2
    x, padding = _padded(x, attributes, dims, float("-inf"))
    function: Callable[..., Tensor] = functional.max_pool1d if dims == 1 else functional.max_pool2d
    strides = list(attributes.get("strides", [1] * dims))
    return function(x, list(attributes["kernel_shape"]), strides, padding, ceil_mode=bool(attributes.get("ceil_mode")))


def _gemm(attributes: dict[str, Any], a: Tensor, b: Tensor, c: Tensor | None = None) -> Tensor:
    a = a.T if attributes.get("transA") else a
    b = b.T if attributes.get("transB") else b
    y = a @ b * attributes.get("alpha", 1.0) if attributes.get("alpha", 1.0) != 1.0 else a @ b
    return y if c is None else y + c * attributes.get("beta", 1.0)


def _layer_norm(attributes: dict[str, Any], x: Tensor, w: Tensor, b: Tensor | None = None) -> Tensor:
    axis = attributes.get("axis", -1) % x.dim()
    return functional.layer_norm(x, x.shape[axis:], w, b, attributes.get("epsilon", 1e-5))


def _reshape(attributes: dict[str, Any], x: Tensor, shape: Tensor) -> Tensor:
    sizes = _ints(shape)
    if not attributes.get("allowzero"):
        sizes = [x.shape[i] if size == 0 else size for i, size in enumerate(sizes)]
    return x.reshape(sizes)


def _expand(attributes: dict[str, Any], x: Tensor, shape: Tensor) -> Tensor:
    # ONNX broadcasts both ways: a 1 in the wanted shape keeps the tensor's own size.
    wanted = _ints(shape)
    own = [1] * (len(wanted) - x.dim()) + list(x.shape)
    wanted = [1] * (len(own) - len(wanted)) + wanted
    return x.expand([max(a, b) for a, b in zip(own, wanted, strict=True)])


def _slice(
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


def _split(attributes: dict[str, Any], x: Tensor, sizes: Tensor | None = None) -> Any:
    axis = attributes.get("axis", 0)
    if sizes is not None:
        return torch.split_with_sizes(x, _ints(sizes), axis)
    count = attributes["num_outputs"]
    return torch.chunk(x, count, axis)


def _squeeze(attributes: dict[str, Any], x: Tensor, axes: Tensor | None = None) -> Tensor:
    return x.squeeze(tuple(_ints(axes))) if axes is not None else x.squeeze()


def _unsqueeze(attributes: dict[str, Any], x: Tensor, axes: Tensor) -> Tensor:
    places = _ints(axes)
    for axis in sorted(a % (x.dim() + len(places)) for a in places):
        x = x.unsqueeze(axis)
    return x


def _gather_elements(attributes: dict[str, Any], x: Tensor, index: Tensor) -> Tensor:
    return x.gather(attributes.get("axis", 0), index.to(x.device, torch.int64))


def _arg_max(attributes: dict[str, Any], x: Tensor) -> Tensor:
    return x.argmax(attributes.get("axis", 0), bool(attributes.get("keepdims", 1)))


def _reduction(function: Callable[[Tensor, list[int], bool], Tensor]) -> Callable[..., Tensor]:
    def reduce(attributes: dict[str, Any], x: Tensor, axes: Tensor | None = None) -> Tensor:
        along = _ints(axes) or list(range(x.dim()))
        return function(x, along, bool(attributes.get("keepdims", 1)))

    return reduce


def _clip(attributes: dict[str, Any], x: Tensor, low: Tensor | None = None, high: Tensor | None = None) -> Tensor:
    return x.clamp(low, high)


def _pointwise(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
    def apply(attributes: dict[str, Any], *values: Tensor) -> Tensor:
        return function(*values)

    return apply


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
    "Identity": lambda x: x,
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
OPERATORS: dict[str, Callable[..., Any]] = {
    "ArgMax": _arg_max,
    "AveragePool": _average_pool,
    "Cast": _cast,
    "Clip": _clip,
    "Concat": lambda attributes, *values: torch.cat(values, attributes["axis"]),
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
    "Softmax": lambda attributes, x: x.softmax(attributes.get("axis", -1)),
    "Split": _split,
    "Squeeze": _squeeze,
    "Transpose": lambda attributes, x: x.permute(attributes["perm"]),
    "Unsqueeze": _unsqueeze,
    **{name: _pointwise(function) for name, function in _POINTWISE.items()},
}
"""What computes an operator: from its attributes (``to`` of a Cast as a torch dtype) and its inputs to its outputs."""
HOST_ARGUMENTS: dict[str, tuple[int, ...]] = {
    **dict.fromkeys(("Expand", "Reshape", "Split", "Squeeze", "Unsqueeze"), (1,)),
    **dict.fromkeys(("ReduceMax", "ReduceMean", "ReduceMin", "ReduceSum"), (1,)),
    "Slice": (1, 2, 3, 4),
}
"""Places of the inputs that say a shape or axes, by operator; all other inputs are data."""
