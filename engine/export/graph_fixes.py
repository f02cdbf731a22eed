"""What the exporter's optimiser does to a graph, mended: where bytes are cast, a lost epsilon, the names of weights."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, helper, numpy_helper

from engine.graph import onnx_file as graph


def cast_first(model: ModelProto) -> None:
    """Move the cast of the bytes in front of their transposition.

    TensorRT takes uint8 at a network's edge only and wants it cast at once.
    """
    nodes = {name: node for node in model.graph.node for name in node.output}
    users: dict[str, list[NodeProto]] = {}
    for node in model.graph.node:
        for name in node.input:
            users.setdefault(name, []).append(node)
    for cast in [node for node in model.graph.node if node.op_type == "Cast"]:
        turn = nodes.get(cast.input[0])
        if turn is None or turn.op_type != "Transpose" or turn.input[0] != "crops":
            continue
        if len(users[turn.output[0]]) != 1:
            continue
        # crops -> Transpose -> t -> Cast -> c   becomes   crops -> Cast -> t -> Transpose -> c
        permutation = list(turn.attribute)
        to = list(cast.attribute)
        for node, kind, attributes in ((turn, "Cast", to), (cast, "Transpose", permutation)):
            copies = [type(a).FromString(a.SerializeToString()) for a in attributes]
            node.op_type = kind
            del node.attribute[:]
            node.attribute.extend(copies)
        for info in list(model.graph.value_info):
            if info.name == turn.output[0]:
                model.graph.value_info.remove(info)


def restore_epsilon(model: ModelProto) -> None:
    """Put back what keeps the L2 norm of a zero vector finite.

    The exporter's optimiser takes an added 1e-12 for an added zero and drops it: sum of squares, square root,
    reciprocal would turn a zero feature into numbers that are none.
    """
    nodes = {name: node for node in model.graph.node for name in node.output}
    for root in [node for node in model.graph.node if node.op_type == "Sqrt"]:
        summed = nodes.get(root.input[0])
        if summed is None or summed.op_type != "ReduceSum":
            continue
        name = f"{root.output[0]}_safe"
        if not any(t.name == "norm_epsilon" for t in model.graph.initializer):
            model.graph.initializer.append(numpy_helper.from_array(np.array(1e-12, np.float32), "norm_epsilon"))
        safe = helper.make_node("Add", [root.input[0], "norm_epsilon"], [name], name=f"node_{name}")
        model.graph.node.insert(list(model.graph.node).index(root), safe)
        root = next(node for node in model.graph.node if root.output[0] in node.output)
        root.input[0] = name


@dataclass(frozen=True)
class Weights:
    """Where a checkpoint's parameters are in a graph.

    Attributes:
        places: Initializer, and whether it is stored transposed, by parameter name.
        folded: Parameters that the graph holds only folded into other constants.
    """

    places: dict[str, tuple[str, bool]]
    folded: dict[str, NDArray[Any]]


def name_weights(model: ModelProto, state: Mapping[str, NDArray[Any]], prefix: str = "") -> Weights:
    """Give weights readable names, and find out which initializer holds which parameter.

    The exporter's optimiser stores the matrix of a Linear transposed under a name of its own and merges equal
    tensors, so weights are recognised by content.

    Args:
        model: ``onnx.ModelProto``; renamed in place.
        state: The module's parameters and buffers by name.
        prefix: Of those names that is none of the checkpoint's, and goes.
    """
    by_content: dict[str, str] = {}
    arrays = graph.initializers(model)
    for name, array in arrays.items():
        by_content.setdefault(_digest(array), name)
    held: dict[str, tuple[str, bool]] = {}
    renamed: dict[str, str] = {}
    folded: dict[str, NDArray[Any]] = {}
    for full, array in state.items():
        name = full.removeprefix(prefix)
        if full in arrays:
            renamed.setdefault(full, name)
            held[name] = (full, False)
            continue
        straight, turned = by_content.get(_digest(array)), None
        if straight is None and array.ndim == 2:
            turned = by_content.get(_digest(np.ascontiguousarray(array.T)))
        source = straight or turned
        if source is None:
            folded[name] = np.array(array)
            continue
        if source.startswith("val_") and source not in renamed:
            renamed[source] = name + (".T" if turned else "")
        held[name] = (source, turned is not None)
    for node in model.graph.node:
        for i, name in enumerate(node.input):
            node.input[i] = renamed.get(name, name)
    for tensor in (*model.graph.initializer, *model.graph.value_info):
        tensor.name = renamed.get(tensor.name, tensor.name)
    places = {name: (renamed.get(source, source), turned) for name, (source, turned) in held.items()}
    return Weights(places, folded)


def _digest(array: NDArray[Any]) -> str:
    head = f"{array.dtype}{array.shape}".encode()
    return hashlib.sha256(head + np.ascontiguousarray(array).tobytes()).hexdigest()
