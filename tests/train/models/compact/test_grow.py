"""A deeper encoder that starts from a trained one computes what that one does, and says so where it cannot."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from tests.train.drawn_stills import TINY
from train.models.compact.encoder import CompactEncoder, FrameClassifier
from train.models.compact.grow import GrowError, blended, grown
from train.models.compact.shape import EncoderConfig

DEEP = replace(TINY, depths=(2, 3))


def _classifier(shape: EncoderConfig, seed: int) -> FrameClassifier:
    torch.manual_seed(seed)
    model = FrameClassifier(CompactEncoder(shape), 7).eval()
    with torch.no_grad():
        for name, value in model.named_parameters():
            if name.endswith("norm2.weight"):
                value.uniform_(0.5, 1.5)  # trained blocks do something
    return model


def test_a_deeper_encoder_starts_as_the_same_function() -> None:
    trained, deep = _classifier(TINY, 0), FrameClassifier(CompactEncoder(DEEP), 7).eval()
    crops = torch.rand(4, 1, 40, 40) * 255
    assert not torch.allclose(deep(crops), trained(crops), atol=1e-3)
    deep.load_state_dict(grown(trained.state_dict(), deep.state_dict()))
    torch.testing.assert_close(deep(crops), trained(crops))
    assert sum(p.numel() for p in deep.parameters()) > sum(p.numel() for p in trained.parameters())


@pytest.mark.parametrize(
    "shape", [replace(TINY, widths=(8, 24)), replace(TINY, depths=(2, 1)), replace(TINY, feature=8)], ids=repr
)
def test_what_does_not_fit_is_named(shape: EncoderConfig) -> None:
    trained = _classifier(shape, 0)
    with pytest.raises(GrowError, match="no counterpart"):
        grown(trained.state_dict(), FrameClassifier(CompactEncoder(TINY), 7).state_dict())


def test_a_blend_goes_from_one_function_to_the_other() -> None:
    shallow, deep = _classifier(TINY, 0), _classifier(DEEP, 1)
    between = FrameClassifier(CompactEncoder(DEEP), 7).eval()
    crops = torch.rand(4, 1, 40, 40) * 255
    for share, end in ((0.0, shallow), (1.0, deep)):
        between.load_state_dict(blended(shallow.state_dict(), deep.state_dict(), share))
        torch.testing.assert_close(between(crops), end(crops), rtol=1e-4, atol=1e-4)
    between.load_state_dict(blended(shallow.state_dict(), deep.state_dict(), 0.3))
    assert not any(torch.allclose(between(crops), end(crops), atol=1e-3) for end in (shallow, deep))
