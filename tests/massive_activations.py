"""Random weights whose activations are scaled as a trained CLIP's are, for proofs of half precision.

Trained vision transformers, CLIP's among them, hold a handful of values in fixed channels of the residual stream that
are tens to hundreds of times larger than the rest. They hardly depend on the image and act as biases (Sun et al. 2024,
"Massive Activations in Large Language Models", section 5), so everything that reads the stream has learned to allow
for them. Channels whose *variation* is that large, as ``random-bundle`` plants them, are another and harder thing:
there a token's deviation depends on its heavy channels, attention saturates, and rounding the weights alone to half
moves the features of a full-size encoder by 2 to 5 %, whatever the activations are kept in.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

from engine.bundle import Bundle
from engine.export import export_bundle
from train.clip.vision import VisionTransformer
from train.models.exchange import InteractionExchange, MessageExchange
from train.models.registry import build
from train.random_bundle import smooth_crops

FROM_THE_START = (20.0, -35.0, 60.0, -100.0)
"""Values that four channels get ahead of the first layer; the others deviate by about 1."""
FROM_THE_MIDDLE = 250.0
"""Value that one more channel gets from the MLP of a layer in the middle, where trained models gain theirs."""


def massive_bundle(model_name: str, encoder: str, out: Path, seed: int = 0) -> Bundle:
    """A random bundle with massive activations.

    Args:
        model_name: ``tg-dfer``, ``dk-clip`` or ``clip-guided``.
        encoder: A CLIP vision transformer's name.
        out: The bundle's directory.
        seed: Of weights, crops and channels.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = build(model_name, encoder).eval()
    plant(next(m for m in model.modules() if isinstance(m, VisionTransformer)), seed)
    spec = model.spec()
    return export_bundle(
        model.runtime_encoder(),
        model.runtime_head(),
        spec,
        out,
        golden_crops=smooth_crops(spec, 16, seed),
        provenance={"weights": "random", "massive_activations": True},
        metrics={},
    )


def plant(vision: VisionTransformer, seed: int = 0) -> None:
    """Give the residual stream constant large values, and let every reader of it allow for them.

    The encoder's features keep their magnitude, and rounding its weights moves them as little as before.

    Args:
        vision: The image transformer, changed in place.
        seed: Chooses the channels.
    """
    width, layers = vision.size.width, vision.blocks
    channels = torch.randperm(width, generator=torch.Generator().manual_seed(seed))[: len(FROM_THE_START) + 1]
    offset = torch.zeros(width)
    offset[channels[:-1]] = torch.tensor(FROM_THE_START)
    middle = len(layers) // 3
    with torch.no_grad():
        vision.pre_norm.bias.add_(offset)
        for i, layer in enumerate(layers):
            if vision.exchange is not None:
                exchange = vision.exchange[i]
                for name, kind in (("message", MessageExchange), ("interaction", InteractionExchange)):
                    if isinstance(exchange, kind):
                        linear: nn.Linear = getattr(exchange, name)
                        linear.bias.sub_(linear.weight @ offset)
                        exchange.attention.out.bias.add_(offset)  # its tokens join the stream
            _allow_for(layer.attention_norm, offset)
            _allow_for(layer.mlp_norm, offset)
            if i == middle:
                offset = offset.clone()
                offset[channels[-1]] = FROM_THE_MIDDLE
                layer.mlp.down.bias.add_(torch.where(offset == FROM_THE_MIDDLE, offset, 0.0))
        _allow_for(vision.post_norm, offset)


def _allow_for(norm: nn.LayerNorm, offset: Tensor) -> None:
    """Make a norm of stream + offset answer what it answered to a stream of deviation 1."""
    spread = float((1 + offset.var(unbiased=False)).sqrt())
    norm.weight.mul_(spread)
    norm.bias.sub_((offset - offset.mean()) / spread * norm.weight)
