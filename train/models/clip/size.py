"""The sizes CLIP comes in, and the two activations it was trained with."""

from __future__ import annotations

from dataclasses import dataclass

from engine.settings import SettingsError

ACTIVATIONS = ("quick_gelu", "gelu")
"""``quick_gelu`` is OpenAI's, ``gelu`` (exact) that of LAION's and DataComp's checkpoints."""


@dataclass(frozen=True)
class ClipSize:
    """Shapes of an image and a text transformer with one joint space.

    Attributes:
        image_px: Side of the square input, px.
        patch_px: Side of a patch, px.
        width: Width D of the image transformer.
        layers: Its layers.
        heads: Its heads.
        joint: d, width of the joint space.
        text_width: Width of the text transformer.
        text_layers: Its layers.
        text_heads: Its heads.
        context: Tokens of a text, start and end included.
        vocabulary: Number of tokens; the last is the end of text.
        activation: Of every layer's MLP, one of :data:`ACTIVATIONS`.
    """

    image_px: int = 224
    patch_px: int = 32
    width: int = 768
    layers: int = 12
    heads: int = 12
    joint: int = 512
    text_width: int = 512
    text_layers: int = 12
    text_heads: int = 8
    context: int = 77
    vocabulary: int = 49408
    activation: str = "quick_gelu"

    def __post_init__(self) -> None:
        if self.image_px % self.patch_px:
            raise SettingsError(f"image_px {self.image_px} is no multiple of patch_px {self.patch_px}")
        if self.activation not in ACTIVATIONS:
            raise SettingsError(f"activation must be one of {', '.join(ACTIVATIONS)}, not {self.activation!r}")
        for width, heads in (("width", "heads"), ("text_width", "text_heads")):
            if getattr(self, width) % getattr(self, heads):
                raise SettingsError(f"{width} {getattr(self, width)} is no multiple of {heads}")

    @property
    def tokens(self) -> int:
        """L, tokens per frame: the class token and the patches."""
        return (self.image_px // self.patch_px) ** 2 + 1


SIZES: dict[str, ClipSize] = {
    "vit-b-32": ClipSize(),
    "vit-b-16": ClipSize(patch_px=16),
    "tiny": ClipSize(
        image_px=32,
        patch_px=16,
        width=32,
        layers=2,
        heads=2,
        joint=32,
        text_width=32,
        text_layers=2,
        text_heads=2,
        vocabulary=512,
    ),
}
"""Encoders by name. ``tiny`` is for tests and demonstrations: nothing pretrained exists in its size."""
