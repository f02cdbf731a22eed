"""``dfer-engine export --triton``: a bundle or engine directory as a model repository of NVIDIA's Triton.

Two models, as everywhere here: ``NAME_encoder``, whose requests Triton gathers into batches, and ``NAME_head``, which
takes its client's own ring of features: state stays with the client, so any replica may answer. Layout and fields are
those of Triton's documentation ("Model Repository", "Model Configuration").
"""

from __future__ import annotations

import re
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from onnx import TensorProto

from engine.backends.runtime import open_artefact
from engine.bundle.artefact import Artefact
from engine.bundle.engine_directory import EngineDirectory
from engine.bundle.files import is_vacant, staged
from engine.errors import DferError
from engine.graph.onnx_file import load

_BACKENDS = {".plan": "tensorrt", ".xml": "openvino", ".onnx": "onnxruntime"}
_DTYPES = {"uint8": "TYPE_UINT8", "int32": "TYPE_INT32", "float32": "TYPE_FP32", "float16": "TYPE_FP16"}
_CPU_ALONE = ("openvino", "onnxruntime")
_VERSION = "1"
_LABELS = "labels.txt"


class TritonError(DferError):
    """A repository that cannot be written."""


@dataclass(frozen=True)
class Tensor:
    """An input or output of a served model.

    Attributes:
        name: In the graph.
        dtype: A NumPy dtype's name.
        dims: Its shape; without the batch where the model has a batch of Triton's, -1 for any.
    """

    name: str
    dtype: str
    dims: tuple[int, ...]


@dataclass(frozen=True)
class Repository:
    """A repository that was written.

    Attributes:
        path: Its directory.
        models: Names of the two models.
        backends: Triton's back ends of the two.
        most: Largest batch of the encoder.
    """

    path: Path
    models: tuple[str, str]
    backends: tuple[str, str]
    most: int

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready values."""
        return {
            "path": str(self.path),
            "models": list(self.models),
            "backends": list(self.backends),
            "max_batch_size": self.most,
        }

    def lines(self) -> list[str]:
        """The same for people."""
        (encoder, head), (of_encoder, of_head) = self.models, self.backends
        return [
            f"{self.path}: {encoder} ({of_encoder}, batches of up to {self.most}) and {head} ({of_head})",
            f"serve it: tritonserver --model-repository={self.path.absolute()}",
        ]


def write_repository(source: Path, out: Path, most: int = 8, name: str | None = None) -> Repository:
    """Write a model repository; it appears whole or not at all.

    Args:
        source: A bundle, or an engine directory proven on this machine.
        out: A directory that does not exist yet or is empty.
        most: Largest batch Triton may make of the encoder's requests; a plan must have been built for it (``--faces``).
        name: What the models' names begin with; the model's own name if not given.

    Raises:
        TritonError: If ``out`` is in use or the name cannot be a model's.
        BundleError: If the source is damaged.
    """
    if not is_vacant(out):
        raise TritonError(f"{out} exists", "choose a new directory")
    artefact = open_artefact(source)
    prefix = artefact.spec.name if name is None else name
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]*", prefix):
        raise TritonError(f"{prefix!r} cannot name a folder of a repository", "name it: --name MODEL")
    backends = (_BACKENDS[artefact.encoder.suffix], _BACKENDS[artefact.head.suffix])
    models = (f"{prefix}_encoder", f"{prefix}_head")
    with staged(out) as staging:
        for part, model in zip(("encoder", "head"), models, strict=True):
            folder = staging / model
            _copy_graph(artefact, part, folder / _VERSION)
            (folder / "config.pbtxt").write_text(_config(artefact, part, model, most), "utf-8")
        (staging / models[1] / _LABELS).write_text("".join(f"{label}\n" for label in artefact.spec.labels), "utf-8")
    return Repository(out, models, backends, most)


def tensors(artefact: Artefact, part: str) -> tuple[list[Tensor], list[Tensor]]:
    """Inputs and outputs of a part, by the spec."""
    spec = artefact.spec
    if part == "encoder":
        size = spec.crop.size_px
        return (
            [Tensor("crops", "uint8", (spec.unit, size, size, 3))],
            [Tensor("features", _feature_dtype(artefact), (spec.feature,))],
        )
    outputs = [
        Tensor("logits", "float32", (-1, len(spec.labels))),
        Tensor("relevance", "float32", (-1, spec.samples)),
    ]
    if spec.has_now:
        outputs.append(Tensor("now", "float32", (-1, len(spec.labels))))
    inputs = [
        Tensor("ring", _feature_dtype(artefact), (-1, spec.feature)),
        Tensor("index", "int32", (-1, spec.window)),
    ]
    return inputs, outputs


def _feature_dtype(artefact: Artefact) -> str:
    """What features are where they leave the encoder: a plan in mixed FP16 gives halves, a graph says it itself."""
    if artefact.encoder.suffix == ".plan":
        return "float16" if isinstance(artefact, EngineDirectory) and artefact.precision == "fp16" else "float32"
    if artefact.encoder.suffix == ".xml":
        return "float32"
    model = load(artefact.encoder)
    kinds = {value.name: value.type.tensor_type.elem_type for value in model.graph.output}
    return "float16" if kinds["features"] == TensorProto.FLOAT16 else "float32"


def _copy_graph(artefact: Artefact, part: str, version: Path) -> None:
    graph = artefact.graph(part)
    version.mkdir(parents=True)
    if graph.suffix != ".onnx":
        for file in (graph, graph.with_suffix(".bin")):
            if file.name in artefact.files:
                shutil.copyfile(file, version / f"model{file.suffix}")
        return
    weights = f"{graph.name}.data"
    if weights not in artefact.files:
        shutil.copyfile(graph, version / "model.onnx")
        return
    # A graph of several files is a directory of the name that one file would have; the weights keep the name that the
    # graph calls them by.
    folder = version / "model.onnx"
    folder.mkdir()
    shutil.copyfile(graph, folder / "model.onnx")
    shutil.copyfile(artefact.path / weights, folder / weights)


def _config(artefact: Artefact, part: str, name: str, most: int) -> str:
    inputs, outputs = tensors(artefact, part)
    encoder = part == "encoder"
    lines = [
        f'name: "{name}"',
        f'backend: "{_BACKENDS[artefact.graph(part).suffix]}"',
        # The head's ring and index have first dimensions of their own: none of them is a batch that Triton may merge.
        f"max_batch_size: {most if encoder else 0}",
    ]
    for kind, members in (("input", inputs), ("output", outputs)):
        for tensor in members:
            lines += [f"{kind} {{", f'  name: "{tensor.name}"', f"  data_type: {_DTYPES[tensor.dtype]}"]
            lines += [f"  dims: [ {', '.join(map(str, tensor.dims))} ]"]
            if tensor.name in ("logits", "now"):
                lines.append(f'  label_filename: "{_LABELS}"')
            lines.append("}")
    if encoder:
        lines.append("dynamic_batching { }")
    if isinstance(artefact, EngineDirectory) and artefact.backend in _CPU_ALONE:
        lines.append("instance_group { kind: KIND_CPU }")
    # Which model this is: `status/` and every message carry the same hash.
    lines.append(f'parameters {{ key: "bundle_sha256" value {{ string_value: "{artefact.sha256}" }} }}')
    return "\n".join(lines) + "\n"
