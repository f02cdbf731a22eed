"""`dfer-train random-bundle`: a bundle of any size with random weights.

For tests, benchmarks and engine builds: it has the shapes, the graphs and the numerical range of a trained
    model, and its
scores mean nothing.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from engine.bundle import Bundle, BundleError
from engine.export import ExportError, export_bundle
from engine.spec import ModelSpec
from train.clip.size import ClipSize
from train.clip.vision import VisionTransformer
from train.models.exchange import InteractionExchange, MessageExchange
from train.models.options import OptionError
from train.models.precision import LayerNorm
from train.models.registry import add_model_arguments, build, parse_overrides

OUTLIER_FACTORS = (20.0, 35.0, 60.0, 100.0)
"""How much larger than its neighbours each heavy residual channel is; trained CLIPs have a handful of such
channels."""


def random_bundle(
    model_name: str,
    encoder: str | ClipSize,
    out: str | Path,
    seed: int = 0,
    options: Mapping[str, Any] | None = None,
    outlier_heavy: bool = False,
    golden_units: int = 16,
) -> Bundle:
    """Write a bundle with random weights.

    Args:
        model_name: ``tg-dfer``, ``dk-clip`` or ``clip-guided``.
        encoder: The encoder's name, or a CLIP size.
        out: The bundle's directory; replaced if a bundle stands there.
        seed: Equal seeds give equal bundles.
        options: The model's options by field.
        outlier_heavy: Give the image transformer's residual stream channels of 20 to 100 times the others, as
            trained CLIPs have, to test half precision. Features keep their order of magnitude.
        golden_units: Units that golden vectors are made from.

    Returns:
        The bundle, opened and verified.

    Raises:
        OptionError: On unknown names or options, or outliers asked of an encoder that is no transformer.
        BundleError: If something that is no bundle stands at ``out``.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = build(model_name, encoder, options).eval()
    if outlier_heavy:
        visions = [m for m in model.modules() if isinstance(m, VisionTransformer)]
        if not visions:
            raise OptionError("outliers need a CLIP image encoder: take a vit encoder")
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
    """Give the residual stream a few channels that are 20 to 100 times larger.

    Every reader of the stream undoes it on average, so that features keep their order of magnitude.

    Args:
        vision: The image transformer, changed in place.
        seed: Chooses the channels.
    """
    width = vision.size.width
    generator = torch.Generator().manual_seed(seed)
    channels = torch.randperm(width, generator=generator)[: len(OUTLIER_FACTORS)]
    scale = torch.ones(width)
    scale[channels] = torch.tensor(OUTLIER_FACTORS)
    # A norm over the stream divides by a deviation that the heavy channels dominate: its other weights make
    # up for it.
    spread = math.sqrt(float(scale.square().mean()))
    with torch.no_grad():
        vision.pre_norm.weight.mul_(scale)
        vision.pre_norm.bias.mul_(scale)
        readers: list[LayerNorm] = [vision.post_norm]
        for layer in vision.blocks:
            readers += [layer.attention_norm, layer.mlp_norm]
        for norm in readers:
            norm.weight.mul_(spread / scale)
        for exchange in vision.exchange or ():
            if isinstance(exchange, MessageExchange):
                exchange.message.weight.div_(scale)
            elif isinstance(exchange, InteractionExchange):
                exchange.interaction.weight.div_(scale)


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


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    add_model_arguments(parser)
    parser.add_argument("out", metavar="OUT", help="the bundle's directory")
    parser.add_argument("--seed", type=int, default=0, help="equal seeds give equal bundles")
    parser.add_argument("--outlier-heavy", action="store_true", help="residual channels as heavy as a trained CLIP's")


def run(arguments: argparse.Namespace) -> int:
    """Run the command; 0, or 2 after one line on what is wrong."""
    try:
        bundle = random_bundle(
            arguments.model,
            arguments.encoder,
            arguments.out,
            arguments.seed,
            parse_overrides(arguments.overrides),
            arguments.outlier_heavy,
        )
    except (OptionError, ExportError, BundleError, ValueError, OSError) as error:
        print(f"dfer-train random-bundle: {error}", file=sys.stderr)
        return 2
    print(f"{bundle.path}: {bundle.spec.name}, random weights, sha256 {bundle.sha256[:12]}")
    return 0


def main(argv: Sequence[str] | None = None) -> int:
    """The command on its own."""
    parser = argparse.ArgumentParser("dfer-train random-bundle", description=(__doc__ or "").splitlines()[0])
    add_arguments(parser)
    return run(parser.parse_args(argv))


if __name__ == "__main__":
    raise SystemExit(main())
