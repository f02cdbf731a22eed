"""Weights taken over from a bundle or from another run, to go on training from."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from engine.bundle.bundle import Bundle
from engine.graph import onnx_file as graph
from train.models.window import ExpressionModel
from train.training.checkpoint import CheckpointError, load_tensors


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


def start_from(model: ExpressionModel, source: Path, crops: Tensor) -> Transfer:
    """Take over the weights of a bundle or of a run's folder, by name and shape.

    Args:
        model: Receives them.
        source: A bundle, a run's folder, or one of its weight files.
        crops: ``(n, U, S, S, 3)`` uint8 units of training clips: where a bundle's graph has batch normalisation folded
            away, its statistics are measured on them.

    Returns:
        What was taken; classes may differ, then the tensors that depend on them are not.

    Raises:
        CheckpointError: If nothing fits.
        BundleError: If the bundle is damaged.
    """
    biases: dict[str, Tensor] = {}
    if (source / "bundle.json").is_file():
        found, biases = bundle_tensors(source)
    else:
        found = _run_tensors(source)
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
    taken += unfold_norms(model, biases, crops) if biases else []
    missing = tuple(name for name in own if name not in set(taken))
    if not any(name in own for name in taken):
        raise CheckpointError(f"{source}: none of its weights fits this model; check --model, --encoder and options")
    return Transfer(tuple(taken), missing, tuple(unused))


def bundle_tensors(source: Path) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Weights of a bundle's graphs under the model's names.

    The text side was folded into constants; where the model has label embeddings instead of a text encoder, those
    constants are their values.

    Args:
        source: The bundle.

    Returns:
        Tensors by name; and, by the name of a layer's weight, the bias that folding a batch normalisation into the
        layer gave it.
    """
    bundle = Bundle.open(source)
    tensors: dict[str, Tensor] = {}
    for name, array in graph.read_weights(bundle.path, "encoder").items():
        tensors[name.removeprefix("model.")] = torch.tensor(array)
    for name, array in graph.read_weights(bundle.path, "head").items():
        plain = name.removeprefix("head.")
        if plain.startswith("text_"):
            plain = "text." + plain.removeprefix("text_").removesuffix("_prompt")
        tensors[plain] = torch.tensor(array)
    # Normalisation constants are the spec's, not parameters.
    for name in ("mean", "std"):
        tensors.pop(name, None)
    biases = {
        name.removeprefix("model.").removesuffix("_bias"): torch.tensor(array)
        for name, array in graph.initializers(graph.load(bundle.encoder)).items()
        if name.endswith(".weight_bias")
    }
    return tensors, biases


@torch.no_grad()
def unfold_norms(model: ExpressionModel, biases: Mapping[str, Tensor], crops: Tensor) -> list[str]:
    """Give back to batch normalisations what export folded into the layers before them.

    With x' the output of a folded layer and b its folded bias, a normalisation of statistics (m, v), scale
    sqrt(v + eps) and shift b + m answers x' + b: just what the graph answers. Taking m and v from training clips makes
    it answer nearly the same while training, where the batch's own statistics are used.

    Args:
        model: Has the folded weights already.
        biases: Folded biases by the name of the layer's weight.
        crops: ``(n, U, S, S, 3)`` uint8 units to measure m and v on.

    Returns:
        Names of the parameters that were set.
    """
    modules = dict(model.named_modules())
    layers = {modules[name.removesuffix(".weight")]: name for name in biases if name.removesuffix(".weight") in modules}
    outputs: dict[int, tuple[Tensor, str]] = {}
    pairs: dict[str, str] = {}
    inputs: dict[str, Tensor] = {}

    def leave(module: nn.Module, _: object, output: Tensor) -> None:
        # The tensor is kept, so that its id is not given to another.
        outputs[id(output)] = (output, layers[module])

    def enter(name: str) -> Callable[[nn.Module, tuple[Tensor, ...]], None]:
        def hook(_: nn.Module, arguments: tuple[Tensor, ...]) -> None:
            before = outputs.get(id(arguments[0]))
            if before is not None:
                pairs[name] = before[1]
                inputs[name] = arguments[0].transpose(0, 1).flatten(1)

        return hook

    norms = {name: m for name, m in modules.items() if isinstance(m, nn.BatchNorm1d | nn.BatchNorm2d)}
    handles = [layer.register_forward_hook(leave) for layer in layers]
    handles += [norm.register_forward_pre_hook(enter(name)) for name, norm in norms.items()]
    try:
        model.eval()
        model.encode_units(crops)
        # The first answer tells which layer feeds which norm; with biases in place the second has the true inputs.
        for name, weight in pairs.items():
            bias = biases[weight]
            _set_norm(norms[name], torch.zeros_like(bias), torch.ones_like(bias), bias)
        outputs.clear()
        model.encode_units(crops)
    finally:
        for handle in handles:
            handle.remove()
    for name, weight in pairs.items():
        mean, variance = inputs[name].mean(1), inputs[name].var(1, unbiased=False)
        _set_norm(norms[name], mean, variance, biases[weight])
    return [f"{name}.{part}" for name in pairs for part in ("weight", "bias")]


def _set_norm(norm: nn.BatchNorm1d | nn.BatchNorm2d, mean: Tensor, variance: Tensor, bias: Tensor) -> None:
    assert norm.running_mean is not None
    assert norm.running_var is not None
    norm.running_mean.copy_(mean)
    norm.running_var.copy_(variance)
    norm.weight.copy_((norm.running_var + norm.eps).sqrt())
    norm.bias.copy_(bias + mean)


def model_settings(model: ExpressionModel, encoder: str) -> dict[str, Any]:
    """Settings from which :func:`train.models.registry.build` makes the same module again, JSON-ready.

    They belong into a bundle's provenance under ``model``.

    Args:
        model: One of the registry's models.
        encoder: Its encoder's name there.
    """
    config = getattr(model, "config", None)
    options = {} if config is None else dataclasses.asdict(config)
    # The crop's side is the encoder's, updates of rank r are merged by now, and texts are constants in a bundle.
    options.pop("crop", None)
    if options.get("image_encoder") == "lora":
        options["image_encoder"] = "tuned"
    if options.get("activation") == "auto":
        del options["activation"]  # an encoder that is no CLIP
    plain = {key: list(value) if isinstance(value, tuple) else value for key, value in options.items()}
    return {"name": model.spec().name, "encoder": encoder, "text_side": "labels", "options": plain}


def bundle_model(source: Path) -> dict[str, Any]:
    """Settings of the model in a bundle: what its provenance states, and what follows from its spec.

    Args:
        source: A bundle; anything else gives an empty answer.
    """
    if not (source / "bundle.json").is_file():
        return {}
    bundle = Bundle.open(source)
    spec, stated = bundle.spec, bundle.provenance.get("model")
    options = {"labels": list(spec.labels), "mean": list(spec.mean), "std": list(spec.std), "sample_hz": spec.sample_hz}
    known: dict[str, Any] = {"name": spec.name, "text_side": "labels", "options": options}
    encoder = bundle.provenance.get("encoder")
    if isinstance(encoder, dict) and "shape" in encoder:
        known["encoder"] = "compact"
    if isinstance(stated, dict):
        known |= {**stated, "options": {**options, **stated.get("options", {})}}
    return known


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
