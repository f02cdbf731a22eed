"""From settings to a model with reproducible initial weights, and weights taken over from a bundle or another run."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from engine.bundle import Bundle
from train.checkpoint import CheckpointError, load_tensors
from train.models.registry import build
from train.models.window import ExpressionModel
from train.settings import ModelSettings


def build_model(settings: ModelSettings, labels: tuple[str, ...], seed: int) -> ExpressionModel:
    """Build a model.

    Args:
        settings: Which one.
        labels: Class names in the order of the logits.
        seed: Of the initial weights; the same in every process.

    Raises:
        OptionError: On an unknown name or option.
        ClipWeightsError: If CLIP's weights cannot be used.
    """
    torch.manual_seed(seed)
    options = {**settings.options, "labels": tuple(labels)}
    return build(settings.name, settings.encoder, options, settings.weights or None, settings.text_side)


@dataclass(frozen=True)
class Transfer:
    """What a model took over.

    Attributes:
        taken: Names of its tensors that were set.
        missing: Names of its parameters that kept their initial values.
        unused: Names in the source without a place of the same shape.
    """

    taken: tuple[str, ...]
    missing: tuple[str, ...]
    unused: tuple[str, ...]

    def text(self) -> str:
        """One line for a terminal."""
        line = f"took over {len(self.taken)} tensors"
        if self.missing:
            line += f"; {len(self.missing)} keep their initial values ({self.missing[0]}, …)"
        return line + (f"; {len(self.unused)} had no place ({self.unused[0]}, …)" if self.unused else "")


def start_from(model: ExpressionModel, source: Path) -> Transfer:
    """Take over the weights of a bundle or of a run's folder, by name and shape.

    Args:
        model: Receives them.
        source: A bundle, a run's folder, or one of its weight files.

    Returns:
        What was taken; classes may differ, then the tensors that depend on them are not.

    Raises:
        CheckpointError: If nothing fits.
        BundleError: If the bundle is damaged.
    """
    found = bundle_tensors(source) if (source / "bundle.json").is_file() else _run_tensors(source)
    own = dict(model.named_parameters())
    buffers = {name: tensor for name, tensor in model.state_dict().items() if name not in own}
    taken, unused = [], []
    with torch.no_grad():
        for name, value in found.items():
            target = own.get(name, buffers.get(name))
            if target is None or target.shape != value.shape:
                unused.append(name)
            else:
                target.copy_(value)
                taken.append(name)
    missing = tuple(name for name in own if name not in set(taken))
    if not any(name in own for name in taken):
        raise CheckpointError(f"{source}: none of its weights fits this model; check --model, --encoder and options")
    return Transfer(tuple(taken), missing, tuple(unused))


def bundle_tensors(source: Path) -> dict[str, Tensor]:
    """Weights of a bundle's graphs under the model's names.

    The text side was folded into constants; where the model has label embeddings instead of a text encoder, those
    constants are their values.
    """
    from engine.graph import read_weights

    bundle = Bundle.open(source)
    tensors: dict[str, Tensor] = {}
    for name, array in read_weights(bundle.path, "encoder").items():
        tensors[name.removeprefix("model.")] = torch.from_numpy(array)
    for name, array in read_weights(bundle.path, "head").items():
        plain = name.removeprefix("head.")
        if plain.startswith("text_"):
            plain = "text." + plain.removeprefix("text_").removesuffix("_prompt")
        tensors[plain] = torch.from_numpy(array)
    return tensors


def bundle_model(source: Path) -> dict[str, Any]:
    """Settings of the model that a bundle was exported from, as its provenance states them; empty if it does not."""
    if not (source / "bundle.json").is_file():
        return {}
    from engine.bundle import read_manifest

    model = read_manifest(source)[0].get("provenance", {}).get("model", {})
    return dict(model) if isinstance(model, dict) else {}


def _run_tensors(source: Path) -> dict[str, Tensor]:
    files = [source] if source.is_file() else [source / n for n in ("frozen", "last", "best")]
    tensors: dict[str, Tensor] = {}
    for file in files:
        path = file if file.suffix else file.with_suffix(".safetensors")
        if path.is_file():
            tensors |= load_tensors(path)[0]
    if not tensors:
        raise CheckpointError(f"{source} is neither a bundle nor a training run")
    return tensors
