"""`dfer-train random-bundle`: a bundle of any size with random weights.

For tests, benchmarks and engine builds: it has the shapes, the graphs and, with ``--outlier-heavy``, the numerical
range of a trained model; its scores mean nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from engine.bundle import Bundle
from engine.export.export import export_bundle
from engine.settings import SettingsError
from engine.spec import ModelSpec
from train.models.clip.size import ClipSize
from train.models.clip.vision import VisionTransformer
from train.models.exchange import InteractionExchange, MessageExchange
from train.models.options import ModelOptions
from train.models.precision import LayerNorm
from train.models.registry import build

CONSTANTS = (20.0, -35.0, 60.0, -100.0)
"""Values that four channels of every token get ahead of the first layer; the others deviate by about 1."""
FROM_THE_MIDDLE = 250.0
"""Value that one more channel gets from the MLP of a layer in the middle, where trained models gain theirs."""
REGISTERS, REGISTER_GAIN = 3, 8.0
"""Tokens of each frame that one more channel holds almost alone, and how much larger that channel is everywhere."""


def random_bundle(
    model_name: str,
    encoder: str | ClipSize,
    out: str | Path,
    seed: int = 0,
    options: Mapping[str, Any] | ModelOptions | None = None,
    outlier_heavy: bool = False,
    golden_units: int = 16,
) -> Bundle:
    """Write a bundle with random weights.

    Args:
        model_name: ``tg-dfer``, ``dk-clip`` or ``clip-guided``.
        encoder: The encoder's name, or a CLIP size.
        out: The bundle's directory; replaced if a bundle stands there.
        seed: Equal seeds give equal bundles.
        options: The model's options, or their values by field.
        outlier_heavy: Give the image transformer's residual stream the outliers of a trained CLIP, to test half
            precision, see :func:`make_outlier_heavy`. Features keep their order of magnitude.
        golden_units: Units that golden vectors are made from.

    Returns:
        The bundle, opened and verified.

    Raises:
        SettingsError: On unknown names or options, or outliers asked of an encoder that is no transformer.
        BundleError: If something that is no bundle stands at ``out``.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = build(model_name, encoder, options).eval()
    if outlier_heavy:
        visions = [m for m in model.modules() if isinstance(m, VisionTransformer)]
        if not visions:
            raise SettingsError("outliers need a CLIP image encoder", "take a vit encoder")
        make_outlier_heavy(visions[0], seed)
    spec = model.spec()
    shown = encoder if isinstance(encoder, str) else "custom"
    provenance = {"weights": "random", "seed": seed, "encoder": shown, "outlier_heavy": outlier_heavy}
    card = (
        f"# {spec.name} on {shown}, random weights\n\nFor tests and benchmarks. Its scores mean nothing.\n\n"
        f"Seed {seed}. Labels: {', '.join(spec.labels)}.\n"
    )
    return export_bundle(
        model.runtime_encoder(),
        model.runtime_head(),
        spec,
        out,
        golden_crops=smooth_crops(spec, golden_units, seed),
        provenance=provenance,
        metrics={},
        model_card=card,
    )


def make_outlier_heavy(vision: VisionTransformer, seed: int = 0) -> None:
    """Give the residual stream a trained CLIP's outliers, and let every reader of it allow for them.

    What is known of trained vision transformers, and what stands for it here:

    - A few values of tens to hundreds in fixed channels, nearly the same for every image, that act as biases (Sun et
      al. 2024, "Massive Activations in Large Language Models", section 5, CLIP ViT-L among them): :data:`CONSTANTS`
      from the start, :data:`FROM_THE_MIDDLE` from an MLP.
    - A few tokens a frame of much larger norm than the rest, in the same channels for every image: in OpenCLIP ViT-B/16
      up to 100 to 150 against 20 to 60 (Jiang et al. 2025, "Vision Transformers Don't Need Trained Registers", figures
      2 and 4), 93 before OpenCLIP's most sensitive layer (Kim et al. 2025, arXiv 2510.04547): :data:`REGISTERS`,
      about 220 on a ViT-B. With the constants every token's norm is about 280: twice the published ones.
    - OpenAI trained CLIP in mixed precision and publishes and runs it in half (its repository, ``convert_weights`` and
      issues 30 and 171), so rounding its weights to half costs nothing. Channels that *vary* by 20 to 100 times the
      others, as an earlier stand-in had them, are therefore no CLIP: there half weights alone move features by 1 to 2 %
      and one grey level in every pixel by 15 to 24 %, in FP32 (here 0.4 %).

    Args:
        vision: The image transformer, changed in place.
        seed: Chooses channels and tokens.
    """
    width, layers = vision.size.width, vision.blocks
    generator = torch.Generator().manual_seed(seed)
    *fixed, late, register = torch.randperm(width, generator=generator)[: len(CONSTANTS) + 2].tolist()
    tokens = 1 + torch.randperm(vision.size.tokens - 1, generator=generator)[:REGISTERS]
    offset = torch.zeros(width)
    offset[fixed] = torch.tensor(CONSTANTS)

    def allow_for(norm: LayerNorm) -> None:
        """Make a norm of this stream answer what it answered to one of deviation 1."""
        spread = float((1 + offset.var(unbiased=False)).sqrt())
        norm.weight.mul_(spread)
        norm.bias.sub_((offset - offset.mean()) / spread * norm.weight)
        norm.weight[register] /= REGISTER_GAIN

    with torch.no_grad():
        vision.position[tokens, register] = 100.0  # after the first norm nearly all of the token
        vision.pre_norm.weight[register] *= REGISTER_GAIN
        vision.pre_norm.bias.add_(offset)
        for i, layer in enumerate(layers):
            exchange = None if vision.exchange is None else vision.exchange[i]
            if isinstance(exchange, (MessageExchange, InteractionExchange)):
                linear = exchange.message if isinstance(exchange, MessageExchange) else exchange.interaction
                linear.weight[:, register] /= REGISTER_GAIN
                linear.bias.sub_(linear.weight @ offset)
                exchange.attention.out.bias.add_(offset)  # its tokens join the stream
            allow_for(layer.attention_norm)
            allow_for(layer.mlp_norm)
            if i == len(layers) // 3:
                layer.mlp.down.bias[late] += FROM_THE_MIDDLE
                offset[late] = FROM_THE_MIDDLE
        allow_for(vision.post_norm)


def smooth_crops(spec: ModelSpec, units: int, seed: int) -> NDArray[np.uint8]:
    """Units of random smooth images that drift from frame to frame.

    Args:
        spec: Says how many frames a unit has and how large a crop is.
        units: n.
        seed: Equal seeds give equal crops.

    Returns:
        ``(n, U, S, S, 3)`` uint8.
    """
    generator = torch.Generator().manual_seed(seed)
    size = spec.crop.size_px
    ends = torch.rand(units, 2, 3, 6, 6, generator=generator)
    steps = torch.linspace(0, 1, spec.unit)[None, :, None, None, None] if spec.unit > 1 else torch.zeros(1, 1, 1, 1, 1)
    coarse = ends[:, :1] * (1 - steps) + ends[:, 1:] * steps  # [n, U, 3, 6, 6]
    fine = nn.functional.interpolate(coarse.flatten(0, 1), (size, size), mode="bicubic").clamp(0, 1)
    images = (fine * 255).round().to(torch.uint8).reshape(units, spec.unit, 3, size, size)
    return cast("NDArray[np.uint8]", images.permute(0, 1, 3, 4, 2).contiguous().numpy())
