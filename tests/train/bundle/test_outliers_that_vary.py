"""Why outliers that stand for a trained CLIP's are nearly constant: ones that vary are no CLIP, in any precision."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

from engine.bundle.golden import Bounds
from engine.export.golden_vectors import windows
from train.bundle.random_bundle import make_outlier_heavy, smooth_crops
from train.models.clip.vision import VisionTransformer
from train.models.registry import build

FACTORS = (20.0, 35.0, 60.0, 100.0)


def scale_variation(vision: VisionTransformer) -> None:
    """Make what varies in four channels 20 to 100 times larger; every reader undoes it on average."""
    scale = torch.ones(vision.size.width)
    scale[torch.randperm(len(scale), generator=torch.Generator().manual_seed(0))[:4]] = torch.tensor(FACTORS)
    with torch.no_grad():
        vision.pre_norm.weight.mul_(scale)
        vision.pre_norm.bias.mul_(scale)
        for norm in (vision.post_norm, *(n for layer in vision.blocks for n in (layer.attention_norm, layer.mlp_norm))):
            norm.weight.mul_(scale.square().mean().sqrt() / scale)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_channels_that_vary_a_hundredfold_are_chaos_in_fp32_and_half_weights_alone_use_up_the_bound(
    capsys: pytest.CaptureFixture[str],
) -> None:
    kinds: dict[str, Callable[[VisionTransformer], None]] = {"constant": make_outlier_heavy, "varying": scale_variation}
    changes: dict[str, float] = {}
    lines = []
    for kind, plant in kinds.items():
        torch.manual_seed(0)
        model = build("tg-dfer", "vit-b-32").eval()
        plant(next(module for module in model.modules() if isinstance(module, VisionTransformer)))
        spec = model.spec()
        crops = smooth_crops(spec, 16, 0)
        noise = np.random.default_rng(0).integers(-1, 2, crops.shape)
        encoder, head = model.runtime_encoder().eval(), model.runtime_head().eval()
        index = torch.from_numpy(windows(len(crops), spec.window)).long()

        def probs(features: Tensor, head: torch.nn.Module = head, index: Tensor = index) -> Tensor:
            scores: Tensor = head(features[index])[0].softmax(-1)
            return scores

        with torch.no_grad():
            features = encoder(torch.from_numpy(crops))
            grey = encoder(torch.from_numpy(np.clip(crops + noise, 0, 255).astype(np.uint8)[:4]))
            for weight in encoder.parameters():
                weight.copy_(weight.half().float())
            halved = encoder(torch.from_numpy(crops))
            moved = float((probs(halved) - probs(features)).abs().max())
        noisy = float(((grey - features[:4]).norm(dim=1) / features[:4].norm(dim=1)).median())
        rounded = float(((halved - features).norm(dim=1) / features.norm(dim=1)).median())
        lines.append(
            f"{kind} outliers, all in FP32: one grey level moves features by {noisy:.2%}; weights rounded to half by "
            f"{rounded:.2%}, probabilities by up to {moved:.4f}"
        )
        changes[kind] = noisy
        # The gate's whole bound, or nearly, is gone before any arithmetic was done in half.
        assert (moved > 0.5 * Bounds().max_delta) == (kind == "varying")
    with capsys.disabled():
        print("\n" + "\n".join(lines))
    assert changes["constant"] < 0.02
    assert changes["varying"] > 0.1
