"""Half precision on a CPU that has none: the same graph in FP32 with every result rounded to half.

ONNX Runtime's CPU computes FP16 in FP32 between nodes it fuses, so it hides overflow and rounding. Here the
rounding is in the graph itself, after every node, and the runtime's optimiser is off.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from engine.bundle.golden import Golden, probabilities
from engine.graph.topology import Topology

_HALF, _FULL = int(TensorProto.FLOAT16), int(TensorProto.FLOAT)
_FRAMES = 8
"""Frames per run: every result of every node is rounded, so a large batch would need many GB of memory."""
_WINDOWS = 8
"""Windows per run."""


@dataclass(frozen=True)
class HalfRun:
    """What a mixed-FP16 pair of graphs gives when every half node is rounded.

    Attributes:
        probs: ``(m, C)`` float32 of the golden windows.
        peaks: Largest magnitude of every half tensor by name; inf where it overflowed.
    """

    probs: NDArray[np.float32]
    peaks: Mapping[str, float]


def rounded(model: ModelProto) -> ModelProto:
    """An FP32 graph that computes what a half-precision device computes, overflow included.

    Args:
        model: Mixed-FP16 ``onnx.ModelProto``.

    Returns:
        A new model; per half tensor it has an output ``peak:NAME``, its largest magnitude.
    """
    topology = Topology(model)
    new = ModelProto()
    new.CopyFrom(model)
    graph = new.graph
    del graph.node[:]
    del graph.value_info[:]
    for tensor in graph.initializer:
        if tensor.data_type == _HALF:
            array = numpy_helper.to_array(tensor).astype(np.float32)
            tensor.CopyFrom(numpy_helper.from_array(array, tensor.name))
    kept = [value.name for value in graph.output]

    def round_half(name: str, raw: str) -> None:
        """Round ``raw`` into ``name`` and watch its magnitude."""
        graph.node.append(helper.make_node("Cast", [raw], [f"{name}:half"], to=_HALF))
        graph.node.append(helper.make_node("Cast", [f"{name}:half"], [name], to=_FULL))
        graph.node.append(helper.make_node("Abs", [name], [f"{name}:abs"]))
        graph.node.append(helper.make_node("ReduceMax", [f"{name}:abs"], [f"peak:{name}"], keepdims=0))
        graph.output.append(helper.make_tensor_value_info(f"peak:{name}", _FULL, []))

    renamed: dict[str, str] = {}
    for value in graph.input:
        if value.type.tensor_type.elem_type == _HALF:
            value.type.tensor_type.elem_type = _FULL
            renamed[value.name] = f"{value.name}:in"
            round_half(renamed[value.name], value.name)
    for node in topology.nodes:
        copy = NodeProto()
        copy.CopyFrom(node)
        for i, name in enumerate(copy.input):
            copy.input[i] = renamed.get(name, name)
        halves = [name for name in node.output if topology.types.get(name) == _HALF]
        if copy.op_type == "Cast":
            for attribute in copy.attribute:
                if attribute.name == "to" and attribute.i == _HALF:
                    attribute.i = _FULL
        for i, name in enumerate(copy.output):
            if name in halves:
                copy.output[i] = f"{name}:raw"
        graph.node.append(copy)
        for name in halves:
            round_half(name, f"{name}:raw")
    for value in graph.output:
        if value.name in kept and value.type.tensor_type.elem_type == _HALF:
            value.type.tensor_type.elem_type = _FULL
    return new


def run(encoder: ModelProto, head: ModelProto, golden: Golden) -> HalfRun:
    """Encode the golden crops and score the golden windows with rounding after every half node.

    Args:
        encoder: Mixed-FP16 encoder.
        head: Mixed-FP16 head.
        golden: Crops and windows.

    Returns:
        Probabilities and the largest magnitudes.
    """
    peaks: dict[str, float] = {}
    units = max(1, _FRAMES // golden.crops.shape[1])
    crops = [{"crops": batch} for batch in _batches(golden.crops, units)]
    features = _through(rounded(encoder), crops, peaks)["features"]
    feeds = [{"ring": features, "index": batch} for batch in _batches(golden.windows, _WINDOWS)]
    logits = _through(rounded(head), feeds, peaks)["logits"]
    return HalfRun(probabilities(logits), peaks)


def _batches(array: NDArray[Any], size: int) -> list[NDArray[Any]]:
    return [array[i : i + size] for i in range(0, len(array), size)]


def _through(
    model: ModelProto, feeds: list[dict[str, NDArray[Any]]], peaks: dict[str, float]
) -> dict[str, NDArray[Any]]:
    options = ort.SessionOptions()
    # An optimiser would take a cast to half and back for nothing to do.
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 3
    # Without these two it keeps room for every result at once: 20 GB for CLIP-Guided on a ViT-B/32.
    options.enable_mem_pattern = options.enable_cpu_mem_arena = False
    session = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    kept: dict[str, list[NDArray[Any]]] = {}
    for feed in feeds:
        for name, value in zip(names, session.run(None, feed), strict=True):
            if name.startswith("peak:"):
                key = name.removeprefix("peak:")
                peak = float(value)
                peaks[key] = max(peaks.get(key, 0.0), np.inf if np.isnan(peak) else peak)
            else:
                kept.setdefault(name, []).append(value)
    return {name: np.concatenate(values) for name, values in kept.items()}
