"""Models by name: configurations from plain values, encoders by name, weights put in and parts frozen."""

from __future__ import annotations

import dataclasses
import difflib
import typing
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, cast

import torch
from torch import nn

from engine.settings import Layer, SettingsError, load
from engine.spec import canonical_class
from train.models import clip_guided, dk_clip, tg_dfer
from train.models.clip.lora import add_lora
from train.models.clip.size import SIZES, ClipSize
from train.models.clip.text import TextTransformer
from train.models.clip.tokenizer import ByteTokens, ClipTokens, Tokenizer
from train.models.clip.vision import VisionTransformer
from train.models.clip.weights import ClipWeights, load_text, load_vision, read_clip
from train.models.options import OPTIONS, ClipGuidedConfig, DkClipConfig, ModelOptions, TgDferConfig
from train.models.text_side import ClipTexts, PromptSet
from train.models.window import ExpressionModel
from train.settings import ModelSettings


def configure(name: str, options: Mapping[str, Any] | None = None, assignments: Sequence[str] = ()) -> ModelOptions:
    """A model's options.

    Args:
        name: The model's name.
        options: Values by field.
        assignments: Of ``--set``, over them.

    Returns:
        The options, checked; classes by their canonical names.

    Raises:
        SettingsError: On an unknown model or option, with the nearest known name, or a value out of range.
    """
    kind = OPTIONS[_known("model", name, OPTIONS)]
    read = load(kind, below=[Layer(options or {}, "model.options")], assignments=assignments).settings
    return dataclasses.replace(read, labels=tuple(map(canonical_class, read.labels)))


def build(
    name: str,
    encoder: str | ClipSize = "vit-b-32",
    options: Mapping[str, Any] | ModelOptions | None = None,
    weights: str | Path | None = None,
    text_side: str = "auto",
) -> ExpressionModel:
    """Make a model.

    Args:
        name: ``tg-dfer``, ``dk-clip`` or ``clip-guided``.
        encoder: One of :data:`train.models.options.ENCODERS`, or a CLIP size.
        options: The model's options, or their values by field.
        weights: Where CLIP's weights and tokenizer are, see :func:`train.models.clip.weights.read_clip`; random if
            not given.
        text_side: ``clip`` for a text encoder, ``labels`` for learned label embeddings; ``auto`` takes the
            text encoder with every CLIP.

    Returns:
        The model, its frozen parts frozen.

    Raises:
        SettingsError: On an unknown name or a combination that cannot be.
        train.models.clip.weights.ClipWeightsError: If the weights cannot be used.
    """
    config = options if isinstance(options, ModelOptions) else configure(name, options)
    if text_side not in ("auto", "clip", "labels"):
        raise SettingsError(f"text side must be auto, clip or labels, not {text_side!r}")
    if encoder == "compact":
        return _build_compact(config, weights, text_side)
    size = encoder if isinstance(encoder, ClipSize) else SIZES[_known("encoder", encoder, SIZES)]
    read = read_clip(weights) if weights is not None else None
    activation = config.activation
    if activation == "auto":
        activation = cast('Literal["quick_gelu", "gelu"]', size.activation if read is None else read.size.activation)
    size = dataclasses.replace(size, activation=activation)
    if read is not None and read.size != size:
        differ = [f.name for f in dataclasses.fields(size) if getattr(size, f.name) != getattr(read.size, f.name)]
        told = ", ".join(f"{n} {getattr(read.size, n)} for {getattr(size, n)}" for n in differ)
        raise SettingsError(f"{read.source} is no {encoder}: it has {told}")
    config = dataclasses.replace(config, activation=activation)
    config = dataclasses.replace(config, crop=dataclasses.replace(config.crop, size_px=size.image_px))
    sets, exchange = _parts(config, size)
    text = None
    if text_side != "labels" and sets:
        tokenizer: Tokenizer = ByteTokens(size) if weights is None else ClipTokens(weights, size.context)
        text = _text_side(size, tokenizer, sets, read)
    vision = VisionTransformer(size, exchange)
    if read is not None:
        load_vision(vision, read)
    model = _assemble(config, vision, text)
    if read is not None and isinstance(scale := getattr(model.window_head, "logit_scale", None), nn.Parameter):
        scale.data.copy_(read.logit_scale)
    set_image_encoder(vision, config)
    return model


def build_model(settings: ModelSettings, labels: tuple[str, ...], seed: int) -> ExpressionModel:
    """Make the model of a run, with reproducible initial weights.

    Args:
        settings: Which one.
        labels: Class names in the order of the logits.
        seed: Of the initial weights; the same in every process.

    Raises:
        SettingsError: On an unknown name or option.
        train.models.clip.weights.ClipWeightsError: If CLIP's weights cannot be used.
    """
    torch.manual_seed(seed)
    options = {**settings.options, "labels": tuple(labels)}
    return build(settings.name, settings.encoder, options, settings.weights or None, settings.text_side)


def set_image_encoder(backbone: nn.Module, config: ModelOptions) -> None:
    """Freeze, tune or update an image encoder as configured.

    Modules by which frames exchange tokens are new to CLIP, so they are always trained.

    Args:
        backbone: The image encoder, changed in place.
        config: With ``image_encoder`` and ``lora_rank``.

    Raises:
        SettingsError: If updates are asked of an encoder that is no transformer, or are too large.
    """
    if config.image_encoder == "tuned":
        return
    if config.image_encoder == "lora":
        if not isinstance(backbone, VisionTransformer):
            raise SettingsError("image_encoder=lora needs a CLIP image encoder", "take frozen or tuned")
        add_lora(backbone, config.lora_rank)
        return
    for name, parameter in backbone.named_parameters():
        if not name.startswith("exchange."):
            parameter.requires_grad_(False)


def _parts(config: ModelOptions, size: ClipSize) -> tuple[dict[str, PromptSet], Callable[[], nn.Module] | None]:
    if isinstance(config, TgDferConfig):
        return tg_dfer.prompt_sets(config), None
    if isinstance(config, DkClipConfig):
        return dk_clip.prompt_sets(config), dk_clip.exchange_of(config, size.width, size.heads)
    if isinstance(config, ClipGuidedConfig):
        return clip_guided.prompt_sets(config), clip_guided.exchange_of(config, size.width, size.heads)
    raise SettingsError(f"no model is configured by {type(config).__name__}")


def _assemble(config: ModelOptions, vision: VisionTransformer, text: nn.Module | None) -> ExpressionModel:
    if isinstance(config, TgDferConfig):
        return tg_dfer.TgDfer(config, vision, vision.size.joint, text)
    if isinstance(config, DkClipConfig):
        return dk_clip.DkClip(config, vision, text)
    if isinstance(config, ClipGuidedConfig):
        return clip_guided.ClipGuided(config, vision, text)
    raise SettingsError(f"no model is configured by {type(config).__name__}")


def _text_side(
    size: ClipSize, tokenizer: Tokenizer, sets: Mapping[str, PromptSet], read: ClipWeights | None
) -> ClipTexts:
    encoder = TextTransformer(size)
    if read is not None:
        load_text(encoder, read)
    return ClipTexts(encoder, tokenizer, sets)


def _build_compact(config: ModelOptions, weights: str | Path | None, text_side: str) -> ExpressionModel:
    if not isinstance(config, TgDferConfig):
        raise SettingsError(
            "encoder compact has no layers in which frames exchange tokens", "take tg-dfer, or a vit encoder"
        )
    if weights is not None or text_side == "clip":
        raise SettingsError("encoder compact has no CLIP behind it", "give neither CLIP weights nor text side clip")
    from train.models.compact.encoder import CompactEncoder
    from train.models.compact.shape import EncoderConfig

    shape = EncoderConfig()
    # It standardises every crop itself.
    crop = dataclasses.replace(config.crop, size_px=shape.size_px)
    config = dataclasses.replace(config, crop=crop, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))
    backbone = CompactEncoder(shape)
    set_image_encoder(backbone, config)
    return tg_dfer.TgDfer(config, backbone, shape.feature)


def _known(what: str, name: str, known: typing.Iterable[str]) -> str:
    names = list(known)
    if name in names:
        return name
    near = difflib.get_close_matches(name, names, n=1)
    raise SettingsError(
        f"unknown {what} {name!r}" + (f": did you mean {near[0]!r}?" if near else f"; known: {', '.join(names)}")
    )
