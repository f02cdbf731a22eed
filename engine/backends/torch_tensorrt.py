"""Torch-TensorRT as an optional desktop front end that writes the same plan bytes. Never needed on a device."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import torch

from engine.backends.protocol import BackendError
from engine.backends.torch_graph import OnnxModule
from engine.graph import convert
from engine.graph import onnx_file as graph


def plan_bytes(onnx_path: Path, inputs: list[torch.Tensor], workspace_mb: int = 1024) -> bytes:
    """A TensorRT plan of a bundle's graph through torch-tensorrt, mixed FP16, for one batch.

    Args:
        onnx_path: ``encoder.onnx`` or ``head.onnx`` of a bundle.
        inputs: Example inputs on the GPU that the plan is for; their shapes become the plan's.
        workspace_mb: Memory a layer may borrow.

    Returns:
        The serialised plan, as :mod:`engine.backends.tensorrt` reads it.

    Raises:
        BackendError: If torch-tensorrt is not installed or refuses the graph.
    """
    try:
        front: Any = importlib.import_module("torch_tensorrt")
    except ImportError as error:
        raise BackendError(
            "torch-tensorrt is not installed; dfer-engine build --backend tensorrt needs none"
        ) from error
    module = OnnxModule(convert.to_half(graph.load(onnx_path))).eval().to(inputs[0].device)
    with torch.no_grad():
        module.fix_shapes(*inputs)
        program = torch.export.export(module, tuple(inputs))
    try:
        plan = front.dynamo.convert_exported_program_to_serialized_trt_engine(
            program,
            inputs=inputs,
            use_explicit_typing=True,
            workspace_size=workspace_mb << 20,
            require_full_compilation=True,
        )
    except RuntimeError as error:
        raise BackendError(f"torch-tensorrt refuses {onnx_path.name}: {str(error).splitlines()[0]}") from error
    if not plan:
        raise BackendError(f"torch-tensorrt gave no plan for {onnx_path.name}")
    return bytes(plan)
