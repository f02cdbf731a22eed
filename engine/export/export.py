"""A trained model to a bundle: the one place where training and runtime meet. Needs torch.

The encoder's graph takes crops as bytes and normalises inside; the head's graph gathers its own windows from
the ring. Parameter names survive, so that :func:`engine.graph.onnx_file.read_weights` gives a checkpoint back.
"""

from __future__ import annotations

import contextlib
import io
import json
import logging
import os
import tempfile
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from onnx import ModelProto
from torch import Tensor, nn

from engine.bundle.bundle import Bundle, write_bundle
from engine.errors import DferError
from engine.export import golden_vectors
from engine.export.graph_fixes import cast_first, name_weights, restore_epsilon
from engine.graph import onnx_file as graph
from engine.graph.check import contract
from engine.spec import ModelSpec

OPSETS = (18, 23)
"""18 is what TensorRT 10.3's parser knows; 23 has an Attention operator, for TensorRT 10.14 and newer."""


class ExportError(DferError):
    """A module that does not keep the contract of the graphs."""


class _Head(nn.Module):
    """The window head with its own Gather in front and its answer as a plain tuple."""

    def __init__(self, head: nn.Module, has_now: bool) -> None:
        super().__init__()
        self.head, self.has_now = head, has_now

    def forward(self, ring: Tensor, index: Tensor) -> tuple[Tensor, ...]:
        """``ring (R, D), index (B, W)`` to logits, relevance[, now]."""
        # An embedding lookup is a Gather with int32 indices, without the casts of advanced indexing.
        answer = self.head(nn.functional.embedding(index, ring))
        logits, relevance = answer[0].float(), answer[1].float()
        return (logits, relevance, answer[2].float()) if self.has_now else (logits, relevance)


def export_bundle(
    encoder: nn.Module,
    head: nn.Module,
    spec: ModelSpec,
    path: str | os.PathLike[str],
    *,
    golden_crops: NDArray[np.uint8],
    provenance: Mapping[str, Any],
    metrics: Mapping[str, Any],
    model_card: str = "",
    calibration: Mapping[str, Any] | None = None,
    opset: int = 18,
) -> Bundle:
    """Export a model and everything a device needs of it.

    Args:
        encoder: ``(B, U, S, S, 3) uint8 -> (B, D)`` float, normalisation inside.
        head: ``(B, W, D) -> (logits (B, C), relevance (B, W*U), now (B, C) or None, ...)``, as a tuple.
        spec: What both expect and answer.
        path: The bundle's directory; replaced as a whole if a bundle stands there.
        golden_crops: ``(n, U, S, S, 3)`` uint8 RGB units that golden vectors are made from, n of 8 or more.
        provenance: JSON-ready values on how the model came to be.
        metrics: JSON-ready values on how good it is.
        model_card: Markdown for ``MODEL_CARD.md``.
        calibration: Contents of ``calibration.json``, if known.
        opset: 18, or 23.

    Returns:
        The bundle, opened and verified.

    Raises:
        ExportError: If the modules do not keep the contract above.
        BundleError: If something that is not a bundle stands at ``path``.
    """
    if opset not in OPSETS:
        raise ExportError(f"opset must be one of {OPSETS}, not {opset}")
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{target.name}.export.", dir=target.parent) as scratch:
        folder = Path(scratch)
        folded = {
            f"encoder/{name}": array
            for name, array in export_encoder(encoder, spec, folder / "encoder.onnx", opset).items()
        }
        for name, array in export_head(head, spec, folder / "head.onnx", opset).items():
            folded[f"head/{name}"] = array
        if folded:
            np.savez(folder / graph.FOLDED, allow_pickle=False, **folded)
        golden = golden_vectors.compute(folder / "encoder.onnx", folder / "head.onnx", spec, golden_crops)
        golden.save(folder / "golden.npz")
        card = model_card or f"# {spec.name}\n\nLabels: {', '.join(spec.labels)}.\n"
        (folder / "MODEL_CARD.md").write_text(card, "utf-8")
        if calibration is not None:
            (folder / "calibration.json").write_text(json.dumps(calibration, indent=2, sort_keys=True) + "\n", "utf-8")
        files: dict[str, bytes | Path] = {file.name: file for file in sorted(folder.iterdir())}
        return write_bundle(target, spec, files, {**provenance, "opset": opset}, metrics)


def export_encoder(encoder: nn.Module, spec: ModelSpec, path: Path, opset: int = 18) -> dict[str, NDArray[Any]]:
    """Export the unit encoder alone.

    Args:
        encoder: ``(B, U, S, S, 3) uint8 -> (B, D)``.
        spec: The model's spec.
        path: ``encoder.onnx``; its weights go beside it.
        opset: 18 or 23.

    Returns:
        Parameters that the graph holds only folded into other constants, by name.

    Raises:
        ExportError: If the module answers another shape.
    """
    size = spec.crop.size_px
    crops = torch.zeros(2, spec.unit, size, size, 3, dtype=torch.uint8)
    with torch.no_grad(), _evaluating(encoder):
        shape = tuple(encoder(crops).shape)
        if shape != (2, spec.feature):
            raise ExportError(f"the encoder answers shape {shape} for two units, the spec says (2, {spec.feature})")
        batch = torch.export.Dim("batch", min=1, max=4096)
        model = _onnx(encoder, (crops,), ["crops"], ["features"], ({0: batch},), opset)
    cast_first(model)
    return _finish(model, encoder, path, spec, "encoder")


def export_head(head: nn.Module, spec: ModelSpec, path: Path, opset: int = 18) -> dict[str, NDArray[Any]]:
    """Export the window head alone, with its Gather.

    Args:
        head: ``(B, W, D) -> (logits, relevance[, now, ...])``.
        spec: The model's spec.
        path: ``head.onnx``; its weights go beside it.
        opset: 18 or 23.

    Returns:
        Parameters that the graph holds only folded into other constants, by name.

    Raises:
        ExportError: If the module answers other shapes, or no ``now`` where the spec has one.
    """
    window, classes = spec.window, len(spec.labels)
    ring = torch.randn(3 * window + 1, spec.feature, generator=torch.Generator().manual_seed(0))
    index = torch.arange(2 * window, dtype=torch.int32).reshape(2, window)
    with torch.no_grad(), _evaluating(head):
        answer = head(ring[index])
        shapes = [tuple(t.shape) for t in answer[: 3 if spec.has_now else 2]]
        wanted = [(2, classes), (2, window * spec.unit), (2, classes)][: 3 if spec.has_now else 2]
        if shapes != wanted:
            raise ExportError(f"the head answers shapes {shapes} for two windows, the spec says {wanted}")
        batch = torch.export.Dim("batch", min=1, max=4096)
        rows = torch.export.Dim("rows", min=1, max=1 << 20)
        names = ["logits", "relevance", "now"][: len(wanted)]
        wrapped = _Head(head, spec.has_now)
        model = _onnx(wrapped, (ring, index), ["ring", "index"], names, ({0: rows}, {0: batch}), opset)
    return _finish(model, wrapped, path, spec, "head")


@contextlib.contextmanager
def _evaluating(module: nn.Module) -> Iterator[None]:
    before = module.training
    module.eval()
    try:
        yield
    finally:
        module.train(before)


def _onnx(
    module: nn.Module,
    arguments: tuple[Tensor, ...],
    inputs: list[str],
    outputs: list[str],
    shapes: tuple[dict[int, Any], ...],
    opset: int,
) -> ModelProto:
    # The exporter reports progress and missing torchvision on the terminal; a command of ours prints its own
    # lines.
    loggers = [logging.getLogger("torch.onnx"), logging.getLogger("onnxscript")]
    levels = [logger.level for logger in loggers]
    try:
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            program = torch.onnx.export(
                module.eval(),
                arguments,
                dynamo=True,
                opset_version=opset,
                input_names=inputs,
                output_names=outputs,
                dynamic_shapes=shapes,
                verbose=False,
            )
    except torch.onnx.OnnxExporterError as error:
        raise ExportError(f"the module cannot be exported: {error}") from error
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
    if program is None:
        raise ExportError("the exporter gave no graph")
    return program.model_proto


def _finish(model: ModelProto, module: nn.Module, path: Path, spec: ModelSpec, part: str) -> dict[str, NDArray[Any]]:
    restore_epsilon(model)
    state = {name: value.detach().cpu().numpy() for name, value in module.state_dict().items()}
    weights = name_weights(model, state, "head." if isinstance(module, _Head) else "")
    values = {graph.WEIGHT_MAP: json.dumps(weights.places, sort_keys=True), "dferstream.part": part}
    graph.set_metadata(model, values)
    model.graph.name = f"{spec.name}-{part}"
    problems = contract(model, spec, part)
    if problems:
        raise ExportError(f"the {part}'s graph breaks its contract: {'; '.join(problems)}")
    graph.save(model, path)
    return weights.folded
