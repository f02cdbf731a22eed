"""Graph rewriting without torch: mixed FP16, fixed batches, a newer opset."""

from __future__ import annotations

import numpy as np
from onnx import GraphProto, ModelProto, TensorProto, helper, numpy_helper, version_converter

from engine.graph.onnx_file import GraphError
from engine.graph.topology import FLOATS, Topology, full_precision_region

_HALF, _FULL = int(TensorProto.FLOAT16), int(TensorProto.FLOAT)
_HEAVY_BYTES = 4096


def to_half(model: ModelProto) -> ModelProto:
    """The same graph in mixed FP16 whose types alone say the precision, as TensorRT's strong typing wants it.

    Everything is half except LayerNorm, the residual stream, L2 norms, cosines and the temperature (see
    :func:`engine.graph.topology.full_precision_region`), which stand in FP32 behind Casts: every product with a weight
    matrix and every attention is half. Features and ring become half, scores stay FP32.

    Args:
        model: FP32 ``onnx.ModelProto`` with its weights.

    Returns:
        A new model.
    """
    topology = Topology(model)
    full = full_precision_region(topology)
    new = ModelProto()
    new.CopyFrom(model)
    graph = new.graph
    del graph.node[:]
    del graph.initializer[:]
    del graph.value_info[:]
    weights = _Constants(topology, graph)
    have = {name: kind for name, kind in topology.types.items() if name not in topology.constants}
    for value in graph.input:
        if value.type.tensor_type.elem_type == _FULL:
            value.type.tensor_type.elem_type = have[value.name] = _HALF
    cast: dict[tuple[str, int], str] = {}
    final = {value.name: (_HALF if value.name == "features" else _FULL) for value in graph.output}

    def typed(name: str, wanted: int) -> str:
        if name in topology.constants:
            return weights.get(name, wanted)
        if have.get(name) not in FLOATS or have[name] == wanted:
            return name
        if (name, wanted) not in cast:
            cast[name, wanted] = f"{name}_{'half' if wanted == _HALF else 'full'}"
            graph.node.append(
                helper.make_node("Cast", [name], [cast[name, wanted]], name=cast[name, wanted], to=wanted)
            )
        return cast[name, wanted]

    for index, node in enumerate(topology.nodes):
        wanted = _FULL if index in full else _HALF
        copy = graph.node.add()
        copy.CopyFrom(node)
        graph.node.remove(copy)  # Casts of its inputs come first
        for i, name in enumerate(copy.input):
            copy.input[i] = typed(name, wanted) if name else name
        if copy.op_type == "Cast":
            for attribute in copy.attribute:
                if attribute.name == "to" and attribute.i in FLOATS:
                    attribute.i = wanted
        for i, name in enumerate(copy.output):
            if topology.types.get(name) not in FLOATS:
                continue
            have[name] = wanted
            if name in final and final[name] != wanted:
                # The output keeps its name and type; what is inside gets another name.
                inner = f"{name}_inner"
                copy.output[i] = inner
                have[inner], have[name] = wanted, final[name]
        graph.node.append(copy)
        for name in node.output:
            if name in final and f"{name}_inner" in copy.output:
                graph.node.append(
                    helper.make_node("Cast", [f"{name}_inner"], [name], name=f"{name}_out", to=final[name])
                )
    for value in graph.output:
        value.type.tensor_type.elem_type = final[value.name]
    return new


def with_batch(model: ModelProto, batch: int | str, rows: int | str | None = None) -> ModelProto:
    """Fix the batch, and for a head the rows of its ring, or give them a symbolic name.

    Args:
        model: ``onnx.ModelProto``.
        batch: B, or a name for a dimension that stays dynamic.
        rows: R, or a name; unchanged if not given.

    Returns:
        A new model.
    """
    new = ModelProto()
    new.CopyFrom(model)
    for value in (*new.graph.input, *new.graph.output):
        size = rows if value.name == "ring" else batch
        if size is None:
            continue
        first = value.type.tensor_type.shape.dim[0]
        first.Clear()
        if isinstance(size, int):
            first.dim_value = size
        else:
            first.dim_param = size
    del new.graph.value_info[:]
    return new


def with_opset(model: ModelProto, opset: int) -> ModelProto:
    """The same graph in a newer opset, operator by operator as the ONNX specification maps them.

    Attention stays what it was, MatMul, Softmax and MatMul: every TensorRT fuses that, and opset 23's own operator
    only from 10.14 on.

    Args:
        model: ``onnx.ModelProto`` with its weights.
        opset: The wanted opset, not older than the graph's own.

    Returns:
        A new model.

    Raises:
        GraphError: If the graph is newer already or an operator cannot be mapped.
    """
    found = next((entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")), 0)
    if found > opset:
        raise GraphError(f"the graph is of opset {found}: it cannot be taken back to {opset}", "export the model again")
    new = ModelProto()
    if found == opset:
        new.CopyFrom(model)
        return new
    # The converter passes the whole model through a string; weights play no part in it and may be a gigabyte.
    heavy = [t for t in model.graph.initializer if len(t.raw_data) > _HEAVY_BYTES]
    names = {tensor.name for tensor in heavy}
    bare = ModelProto()
    bare.CopyFrom(model)
    del bare.graph.initializer[:]
    bare.graph.initializer.extend(t for t in model.graph.initializer if t.name not in names)
    bare.graph.input.extend(helper.make_tensor_value_info(t.name, t.data_type, list(t.dims)) for t in heavy)
    try:
        new.CopyFrom(version_converter.convert_version(bare, opset))
    except RuntimeError as error:
        raise GraphError(f"the graph cannot be taken from opset {found} to {opset}: {error}") from error
    kept = [value for value in new.graph.input if value.name not in names]
    del new.graph.input[:]
    new.graph.input.extend(kept)
    new.graph.initializer.extend(heavy)
    new.ir_version = max(model.ir_version, helper.find_min_ir_version_for(list(new.opset_import)))
    return new


class _Constants:
    """Initializers in the precision each reader wants, each stored once per precision."""

    def __init__(self, topology: Topology, graph: GraphProto) -> None:
        self._topology, self._graph = topology, graph
        self._made: dict[tuple[str, int], str] = {}

    def get(self, name: str, wanted: int) -> str:
        tensor = self._topology.constants[name]
        if tensor.data_type not in FLOATS:
            wanted = tensor.data_type
        key = (name, wanted)
        if key not in self._made:
            taken = any(known == name for known, _ in self._made)
            self._made[key] = f"{name}_{'half' if wanted == _HALF else 'full'}" if taken else name
            new = self._graph.initializer.add()
            if wanted == tensor.data_type:
                new.CopyFrom(tensor)
            else:
                with np.errstate(over="ignore"):  # an overflow is what the range rule is there to name
                    array = numpy_helper.to_array(tensor).astype(helper.tensor_dtype_to_np_dtype(wanted))
                new.CopyFrom(numpy_helper.from_array(array, name))
            new.name = self._made[key]
        return self._made[key]
