"""The contract of the two graphs: names, dtypes and shapes of inputs and outputs, and the head's Gather."""

from __future__ import annotations

from onnx import ModelProto, TensorProto

from engine.spec import ModelSpec

_TYPES = {
    TensorProto.UINT8: "uint8",
    TensorProto.FLOAT: "float32",
    TensorProto.FLOAT16: "float16",
    TensorProto.INT32: "int32",
}


def contract(model: ModelProto, spec: ModelSpec, part: str) -> list[str]:
    """What of a graph breaks the contract with the runtime.

    Args:
        model: ``onnx.ModelProto``.
        spec: The model's spec.
        part: ``encoder`` or ``head``.

    Returns:
        One line per broken rule; empty if all is well.
    """
    size, window, classes = spec.crop.size_px, spec.window, len(spec.labels)
    score: list[int | None] = [None, classes]
    wanted: dict[str, tuple[str, list[int | None]]]
    if part == "encoder":
        wanted = {
            "crops": ("uint8", [None, spec.unit, size, size, 3]),
            "features": ("float", [None, spec.feature]),
        }
    else:
        wanted = {
            "ring": ("float", [None, spec.feature]),
            "index": ("int32", [None, window]),
            "logits": ("float32", score),
            "relevance": ("float32", [None, window * spec.unit]),
        }
        if spec.has_now:
            wanted["now"] = ("float32", score)
    problems = []
    seen = {value.name: value for value in (*model.graph.input, *model.graph.output)}
    if set(seen) != set(wanted):
        problems.append(f"inputs and outputs are {sorted(seen)}, not {sorted(wanted)}")
    for name in sorted(set(seen) & set(wanted)):
        kind, shape = wanted[name]
        tensor = seen[name].type.tensor_type
        found = _TYPES.get(tensor.elem_type, str(tensor.elem_type))
        if not found.startswith(kind):
            problems.append(f"{name} is {found}, not {kind}")
        dims = [d.dim_value if d.HasField("dim_value") else None for d in tensor.shape.dim]
        fits = len(dims) == len(shape) and all(s is None or d == s for d, s in zip(dims, shape, strict=True))
        if not fits:
            problems.append(f"{name} has shape {dims}, not {shape}")
    if part == "head":
        first = [node for node in model.graph.node if "ring" in node.input]
        if len(first) != 1 or first[0].op_type != "Gather" or list(first[0].input) != ["ring", "index"]:
            problems.append("the head does not gather its windows first: ring and index must meet in one Gather")
    return problems
