"""ONNX graphs on disk: weights once as aligned external data, the same bytes for the same graph."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import ModelProto, TensorProto, numpy_helper
from onnx.external_data_helper import load_external_data_for_model

from engine.errors import DferError

WEIGHT_MAP = "dferstream.weights"
"""Metadata key: JSON from a checkpoint's parameter name to [initializer, whether it is stored transposed]."""

FOLDED = "weights-folded.npz"
"""Parameters that the exporter folded into other constants, as ``part/name``: kept for fine-tuning alone."""

_INLINE_BYTES = 1024
_PAGE = 4096
_PAGE_FROM = 1 << 16


class GraphError(DferError):
    """A graph that cannot be read or does not have the expected form."""


def load(path: Path) -> ModelProto:
    """Read a graph with its weights in memory.

    Args:
        path: ``something.onnx``; external data lies beside it.

    Returns:
        The ``onnx.ModelProto``.

    Raises:
        GraphError: If it is no ONNX graph or its data is missing.
    """
    try:
        model = onnx.load(str(path), load_external_data=False)
        for tensor in model.graph.initializer:
            for entry in tensor.external_data:
                if entry.key == "location" and Path(entry.value).name != entry.value:
                    raise GraphError(f"{path.name}: {tensor.name} points outside the directory: {entry.value!r}")
        load_external_data_for_model(model, str(path.parent))
    except GraphError:
        raise
    except Exception as error:  # protobuf and onnx raise types without a common base
        raise GraphError(f"cannot read the ONNX graph {path}: {error}") from error
    return model


def save(model: ModelProto, path: Path) -> None:
    """Write a graph as ``path`` and its weights as ``path`` + ``.data``.

    Node documentation and traces (which hold paths of the exporting machine) are dropped; weights are aligned
    to 64 bytes, large ones to a page, so that a runtime can map them. The model's tensors are moved out in
    the process.

    Args:
        model: ``onnx.ModelProto``.
        path: ``something.onnx``.
    """
    graph = model.graph
    for item in (
        *graph.node,
        *graph.value_info,
        *graph.input,
        *graph.output,
        *graph.initializer,
        graph,
        model,
    ):
        item.doc_string = ""
    for item in (*graph.node, *graph.value_info, *graph.input, *graph.output, *graph.initializer, graph):
        del item.metadata_props[:]
    data = path.with_name(path.name + ".data")
    with data.open("wb") as file:
        for tensor in graph.initializer:
            raw = _raw(tensor)
            if len(raw) < _INLINE_BYTES:
                continue
            step = _PAGE if len(raw) >= _PAGE_FROM else 64
            file.write(b"\0" * (-file.tell() % step))
            offset = file.tell()
            file.write(raw)
            _make_external(tensor, data.name, offset, len(raw))
        file.flush()
        os.fsync(file.fileno())
    path.write_bytes(model.SerializeToString(deterministic=True))


def initializers(model: ModelProto) -> dict[str, NDArray[Any]]:
    """Every constant of the graph by name."""
    return {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}


def metadata(model: ModelProto) -> dict[str, str]:
    """The model's own key-value metadata."""
    return {entry.key: entry.value for entry in model.metadata_props}


def set_metadata(model: ModelProto, values: dict[str, str]) -> None:
    """Replace the model's key-value metadata, sorted by key."""
    del model.metadata_props[:]
    for key in sorted(values):
        entry = model.metadata_props.add()
        entry.key, entry.value = key, values[key]


def read_weights(bundle: str | os.PathLike[str], part: str) -> dict[str, NDArray[Any]]:
    """The weights of a bundle under the names and in the orientation of the module they came from.

    Args:
        bundle: The bundle's directory.
        part: ``encoder`` or ``head``.

    Returns:
        Arrays by parameter or buffer name, as ``state_dict`` has them: enough to go on training.

    Raises:
        GraphError: If the graph was not written by ``engine.export.export``.
    """
    path = Path(bundle) / f"{part}.onnx"
    model = load(path)
    text = metadata(model).get(WEIGHT_MAP)
    if text is None:
        raise GraphError(f"{path} does not say which weight is which", "export it with dfer-train export")
    stored = initializers(model)
    weights = {}
    for name, (source, transposed) in json.loads(text).items():
        array = stored[source]
        weights[name] = np.ascontiguousarray(array.T) if transposed else np.array(array)
    folded = Path(bundle) / FOLDED
    if folded.is_file():
        with np.load(folded, allow_pickle=False) as archive:
            prefix = f"{part}/"
            weights.update({n.removeprefix(prefix): archive[n] for n in archive.files if n.startswith(prefix)})
    return weights


def _raw(tensor: TensorProto) -> bytes:
    if not tensor.HasField("raw_data"):
        tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor), tensor.name))
    raw: bytes = tensor.raw_data
    return raw


def _make_external(tensor: TensorProto, location: str, offset: int, length: int) -> None:
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    del tensor.external_data[:]
    for key, value in (("location", location), ("offset", str(offset)), ("length", str(length))):
        entry = tensor.external_data.add()
        entry.key, entry.value = key, value
