"""What a checkpoint's config says of the computation that its tensors do not show: obeyed, or refused by name.

Two files are known: Hugging Face's ``config.json`` and open_clip's ``open_clip_config.json``. Whatever they state of
shapes must be what the tensors have.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engine.errors import DferError
from train.models.clip.size import ACTIVATIONS, ClipSize

_NORM_EPS = 1e-5


class ClipWeightsError(DferError):
    """CLIP weights that cannot be used: the message says what is wrong with which file and what to do."""


@dataclass(frozen=True)
class Stated:
    """What a config states.

    Attributes:
        source: The file, for messages; none where there is none.
        heads: Heads of the image transformer; None if not stated.
        text_heads: Likewise of the text transformer.
        activation: One of :data:`train.models.clip.size.ACTIVATIONS`.
        shapes: Further shapes by the names of :class:`ClipSize`.
    """

    source: Path | None = None
    heads: int | None = None
    text_heads: int | None = None
    activation: str = "quick_gelu"
    shapes: Mapping[str, int] | None = None

    def check(self, size: ClipSize) -> None:
        """Refuse tensors of another size than stated.

        Raises:
            ClipWeightsError: Naming every shape that differs.
        """
        differ = [
            f"{name} {value} where the tensors have {getattr(size, name)}"
            for name, value in (self.shapes or {}).items()
            if value != getattr(size, name)
        ]
        if differ:
            raise ClipWeightsError(f"{self.source} is not of these weights: it says {', '.join(differ)}")


def read_stated(weights: Path) -> Stated:
    """Read the config beside a weights file; OpenAI's arithmetic (QuickGELU) where there is none.

    Args:
        weights: The weights file.

    Raises:
        ClipWeightsError: If the config cannot be read or asks for what is not computed here.
    """
    hugging_face, open_clip = weights.parent / "config.json", weights.parent / "open_clip_config.json"
    if weights.name.startswith("open_clip"):
        if not open_clip.is_file():
            raise ClipWeightsError(
                f"{weights} is open_clip's, and no open_clip_config.json beside it says which activation it has",
                "put the checkpoint's open_clip_config.json there",
            )
        return _open_clip(open_clip)
    if hugging_face.is_file():
        return _hugging_face(hugging_face)
    return _open_clip(open_clip) if open_clip.is_file() else Stated()


def _hugging_face(path: Path) -> Stated:
    values = _read(path)
    vision, text = _section(values, "vision_config", path), _section(values, "text_config", path)
    if not vision and not text:
        return Stated(path)  # a config of something else, such as a tokenizer's
    for name, part in (("vision_config", vision), ("text_config", text)):
        _same(path, f"{name}.layer_norm_eps", part.get("layer_norm_eps", _NORM_EPS), _NORM_EPS)
        for rate in ("attention_dropout", "dropout"):
            _same(path, f"{name}.{rate}", part.get(rate, 0.0), 0.0)
    # Older files say 2 for the end of text, whatever it is: transformers then takes the largest id, as CLIP does.
    end, vocabulary = text.get("eos_token_id", 2), text.get("vocab_size", 49408)
    if end not in (2, vocabulary - 1):
        raise ClipWeightsError(
            f"{path}: the end of text is token {end} of {vocabulary}; only the last one is read as the end here"
        )
    # What is left out has transformers' defaults, which are ViT-B/32's.
    acts = {part.get("hidden_act", "quick_gelu") for part in (vision, text)}
    names = {
        "image_px": (vision, "image_size"), "patch_px": (vision, "patch_size"), "width": (vision, "hidden_size"),
        "layers": (vision, "num_hidden_layers"), "text_width": (text, "hidden_size"),
        "text_layers": (text, "num_hidden_layers"), "context": (text, "max_position_embeddings"),
        "vocabulary": (text, "vocab_size"), "joint": (values, "projection_dim"),
    }  # fmt: skip
    shapes = {name: int(part[key]) for name, (part, key) in names.items() if part.get(key) is not None}
    return Stated(
        path, vision.get("num_attention_heads"), text.get("num_attention_heads"), _activation(path, acts), shapes
    )


_OPEN_CLIP_PARTS = {
    "vision_cfg": {"image_size", "layers", "width", "patch_size", "head_width", "mlp_ratio"},
    "text_cfg": {"context_length", "vocab_size", "width", "heads", "layers"},
}
"""What of open_clip's model parts is understood; anything else (pooling, layer scale, a timm tower) is refused."""


def _open_clip(path: Path) -> Stated:
    model = _section(_read(path), "model_cfg", path)
    vision, text = _section(model, "vision_cfg", path), _section(model, "text_cfg", path)
    foreign = [
        f"{name}.{key}"
        for name, known in _OPEN_CLIP_PARTS.items()
        for key in _section(model, name, path).keys() - known
    ] + sorted(model.keys() - {"embed_dim", "quick_gelu", *_OPEN_CLIP_PARTS})
    if foreign:
        raise ClipWeightsError(f"{path} asks for {', '.join(sorted(foreign))}, which is not computed here")
    _same(path, "vision_cfg.mlp_ratio", vision.get("mlp_ratio", 4.0), 4.0)
    names = {
        "image_px": (vision, "image_size"), "patch_px": (vision, "patch_size"), "width": (vision, "width"),
        "layers": (vision, "layers"), "text_width": (text, "width"), "text_layers": (text, "layers"),
        "context": (text, "context_length"), "vocabulary": (text, "vocab_size"), "joint": (model, "embed_dim"),
    }  # fmt: skip
    shapes = {name: int(part[key]) for name, (part, key) in names.items() if part.get(key) is not None}
    heads = int(vision["width"]) // int(vision.get("head_width", 64)) if "width" in vision else None
    activation = "quick_gelu" if model.get("quick_gelu", False) else "gelu"
    return Stated(path, heads, text.get("heads"), activation, shapes)


def _read(path: Path) -> dict[str, Any]:
    try:
        values = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise ClipWeightsError(f"{path} cannot be read: {error}") from error
    if not isinstance(values, dict):
        raise ClipWeightsError(f"{path} holds no JSON object")
    return values


def _section(values: Mapping[str, Any], name: str, path: Path) -> Mapping[str, Any]:
    part = values.get(name) or {}
    if not isinstance(part, Mapping):
        raise ClipWeightsError(f"{path}: {name} is no object")
    return part


def _same(path: Path, name: str, value: object, wanted: float) -> None:
    if not isinstance(value, int | float) or abs(value - wanted) > 1e-9:
        raise ClipWeightsError(f"{path}: {name} is {value}; only {wanted:g} is computed here")


def _activation(path: Path, stated: set[str]) -> str:
    if len(stated) > 1:
        raise ClipWeightsError(f"{path}: hidden_act differs between image and text ({', '.join(sorted(stated))})")
    activation = stated.pop()
    if activation not in ACTIVATIONS:
        raise ClipWeightsError(
            f"{path}: hidden_act {activation!r} is not computed here; known: {', '.join(ACTIVATIONS)}"
        )
    return activation
