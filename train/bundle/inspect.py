"""`dfer-train inspect`: what a model costs, from its configuration alone.

Models are built on torch's meta device, where tensors have shapes and no values, so full-size ones take a
second and no memory. No CLIP weights are needed.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from train.models.attention import Attention
from train.models.clip.size import ClipSize
from train.models.exchange import BiLstm
from train.models.options import ModelOptions
from train.models.registry import build
from train.models.window import ExpressionModel

MiB = 1 << 20


@dataclass(frozen=True)
class Part:
    """A part of a model.

    Attributes:
        name: Dotted name of its module.
        parameters: Numbers it holds.
        trained: How many of them are trained.
    """

    name: str
    parameters: int
    trained: int


@dataclass(frozen=True)
class Inspection:
    """What a model costs.

    Attributes:
        model: The model's name.
        encoder: The encoder's name.
        parts: Parameters by part, in the order data flows through them.
        unit_gmacs: Multiply-adds of encoding one unit, 10^9; every product counted.
        head_gmacs: Multiply-adds of scoring one window, 10^9.
        window_gmacs: Multiply-adds of a whole window: W units and one score.
        paper_gmacs: The same as the papers count: Conv, Linear and LSTM modules, without those inside the
            image encoder's attention and without its projection matrix, which their counter does not see.
        shapes: What flows, by name, for one window.
        weights_mib: Weights that a device needs, MiB, by precision.
        ring_kib: Ring memory of one face, KiB.
        training_mib: Weights, gradients and AdamW's moments, MiB; activations come on top.
    """

    model: str
    encoder: str
    parts: tuple[Part, ...]
    unit_gmacs: float
    head_gmacs: float
    window_gmacs: float
    paper_gmacs: float
    shapes: dict[str, tuple[int, ...]]
    weights_mib: dict[str, float]
    ring_kib: float
    training_mib: float

    @property
    def parameters(self) -> int:
        """All parameters."""
        return sum(part.parameters for part in self.parts)

    @property
    def trained(self) -> int:
        """Trained parameters."""
        return sum(part.trained for part in self.parts)


def inspect_model(
    name: str, encoder: str | ClipSize = "vit-b-32", options: Mapping[str, Any] | ModelOptions | None = None
) -> Inspection:
    """Count a model's parameters, multiply-adds, shapes and memory.

    Args:
        name: The model's name.
        encoder: The encoder's name, or a CLIP size.
        options: The model's options, or their values by field.

    Returns:
        The counts.

    Raises:
        SettingsError: On unknown names or options.
    """
    with torch.device("meta"):
        model = build(name, encoder, options).eval()
        spec = model.spec()
        size = spec.crop.size_px
        crops = torch.empty(1, spec.unit, size, size, 3, dtype=torch.uint8)
        features = torch.empty(1, spec.window, spec.feature)
        constants = model.fold_text()
        unit = _products(model.encode_units, crops)
        head = _products(lambda x: model.window_head(x, **constants), features)
        paper = spec.window * _seen(model, model.encode_units, crops) + _seen(
            model, lambda x: model.window_head(x, **constants), features
        )
        output = model.window_head(features, **constants)
    shapes = {
        "crops of a unit (uint8)": tuple(crops.shape),
        "feature of a unit": (1, spec.feature),
        "features of a window": tuple(features.shape),
        **{f"text constant {key}": tuple(value.shape) for key, value in constants.items()},
        "logits": tuple(output.logits.shape),
        "relevance": tuple(output.relevance.shape),
    }
    if output.now is not None:
        shapes["now"] = tuple(output.now.shape)
    deployed = sum(p.numel() for part in (model.encoder, model.window_head) for p in part.parameters())
    deployed += sum(value.numel() for value in constants.values())
    parts = parameter_parts(model)
    total, trained = sum(p.parameters for p in parts), sum(p.trained for p in parts)
    return Inspection(
        model=name,
        encoder=encoder if isinstance(encoder, str) else "custom",
        parts=parts,
        unit_gmacs=unit / 1e9,
        head_gmacs=head / 1e9,
        window_gmacs=(spec.window * unit + head) / 1e9,
        paper_gmacs=paper / 1e9,
        shapes=shapes,
        weights_mib={"float32": 4 * deployed / MiB, "float16": 2 * deployed / MiB},
        ring_kib=4 * spec.window * spec.feature / 1024,
        training_mib=4 * (total + 3 * trained) / MiB,
    )


def parameter_parts(model: ExpressionModel) -> tuple[Part, ...]:
    """Parameters by part: two levels of names, exchange modules apart from the encoder they serve."""
    counts: dict[str, list[int]] = {}
    for name, parameter in model.named_parameters():
        pieces = name.split(".")
        depth = 3 if "exchange" in pieces[:3] else 2
        count = counts.setdefault(".".join(pieces[:depth]), [0, 0])
        count[0] += parameter.numel()
        count[1] += parameter.numel() if parameter.requires_grad else 0
    order = {"encoder": 0, "window_head": 1, "text": 2}
    ranked = sorted(counts.items(), key=lambda item: order.get(item[0].split(".")[0], 3))
    return tuple(Part(name, total, trained) for name, (total, trained) in ranked)


def _products(call: Any, argument: Tensor) -> int:
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        call(argument)
    products: int = counter.get_total_flops() // 2
    return products


def _seen(model: ExpressionModel, call: Any, argument: Tensor) -> int:
    """Multiply-adds that the papers' counter sees during a call."""
    unseen = {id(inner) for m in model.encoder.modules() if isinstance(m, Attention) for inner in m.modules()}
    for name, module in model.encoder.named_modules():
        if name.endswith("vision.projection") or name.endswith("backbone.projection"):
            unseen.add(id(module))
    total = 0

    def count(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        nonlocal total
        if id(module) in unseen:
            return
        if isinstance(module, nn.Linear):
            total += math.prod(output.shape) * module.in_features
        elif isinstance(module, nn.Conv2d):
            total += math.prod(output.shape) * math.prod(module.weight.shape[1:])
        elif isinstance(module, BiLstm):
            # Per frame and direction: the four gates' products and 4 * 4H for what is done element by
            # element.
            width = module.lstm.hidden_size
            cell = 4 * width * (module.lstm.input_size + width) + 16 * width
            total += 2 * cell * inputs[0].shape[0] * inputs[0].shape[1]

    hooks = [m.register_forward_hook(count) for m in model.modules() if isinstance(m, nn.Linear | nn.Conv2d | BiLstm)]
    try:
        with torch.no_grad():
            call(argument)
    finally:
        for hook in hooks:
            hook.remove()
    return total


def render(inspection: Inspection, console: Console) -> None:
    """Print an inspection as tables."""
    table = Table(title=f"{inspection.model} on {inspection.encoder}: parameters")
    for heading in ("part", "parameters", "trained", "frozen"):
        table.add_column(heading, justify="left" if heading == "part" else "right")
    for part in inspection.parts:
        table.add_row(part.name, f"{part.parameters:,}", f"{part.trained:,}", f"{part.parameters - part.trained:,}")
    total, trained = inspection.parameters, inspection.trained
    table.add_section()
    table.add_row("all", f"{total:,}", f"{trained:,}", f"{total - trained:,}")
    console.print(table)
    costs = Table(title="cost", show_header=False)
    costs.add_row("multiply-adds, one unit", f"{inspection.unit_gmacs:.3f} G")
    costs.add_row("multiply-adds, one score", f"{inspection.head_gmacs:.3f} G")
    costs.add_row("multiply-adds, whole window", f"{inspection.window_gmacs:.3f} G")
    costs.add_row("the same as the papers count", f"{inspection.paper_gmacs:.3f} G")
    for precision, mib in inspection.weights_mib.items():
        costs.add_row(f"weights on a device, {precision}", f"{mib:.1f} MiB")
    costs.add_row("ring, one face", f"{inspection.ring_kib:.1f} KiB")
    costs.add_row("training: weights, gradients, AdamW", f"{inspection.training_mib:.0f} MiB + activations")
    console.print(costs)
    shapes = Table(title="shapes, one window", show_header=False)
    for name, shape in inspection.shapes.items():
        shapes.add_row(name, " x ".join(map(str, shape)))
    console.print(shapes)
