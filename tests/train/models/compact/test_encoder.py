"""The compact encoder: shapes, size, and what its input standardisation promises."""

from __future__ import annotations

import json
from dataclasses import asdict

import pytest
import torch

from train.default_model.head import assemble
from train.default_model.weights import build_encoder, read_shape
from train.models.compact.encoder import CompactEncoder, FrameClassifier
from train.models.compact.separable import SeparableBlock, SeparableEncoder, pad_same
from train.models.compact.shape import EncoderConfig, SeparableConfig

TINY = EncoderConfig(size_px=40, widths=(8, 16), depths=(1, 1), feature=16, drop_path=0.0, dropout=0.0)


@pytest.mark.parametrize("size", [40, 48, 56, 64])
def test_one_feature_per_crop_at_every_training_size(size: int) -> None:
    features = CompactEncoder(TINY).eval()(torch.rand(3, 3, size, size))
    assert features.shape == (3, 16)
    assert features.isfinite().all()


def test_default_model_fits_the_bundle() -> None:
    encoder = CompactEncoder()
    model = assemble(encoder, encoder.config.size_px)
    count = sum(p.numel() for p in model.parameters())
    assert encoder.config.feature <= 256
    assert 4 * count < 14_000_000  # float32, with room for graphs, golden vectors and card


def test_colour_is_reduced_to_luma() -> None:
    encoder = CompactEncoder(TINY).eval()
    grey = torch.rand(2, 1, 40, 40)
    tinted = grey.repeat(1, 3, 1, 1)
    # Moving light between channels at equal luma changes nothing.
    tinted[:, 0] += 0.1 * 0.114 / 0.299
    tinted[:, 2] -= 0.1
    torch.testing.assert_close(encoder(tinted), encoder(grey.repeat(1, 3, 1, 1)), atol=1e-4, rtol=1e-3)


def test_exposure_and_contrast_do_not_matter() -> None:
    encoder = CompactEncoder(TINY).eval()
    grey = torch.rand(2, 1, 40, 40) * 200
    torch.testing.assert_close(encoder.encode_grey(grey * 0.8 + 20), encoder.encode_grey(grey), atol=2e-2, rtol=2e-2)


def test_an_empty_crop_is_finite() -> None:
    assert CompactEncoder(TINY).eval()(torch.zeros(1, 3, 40, 40)).isfinite().all()


def test_every_parameter_gets_a_gradient() -> None:
    torch.manual_seed(0)
    encoder = CompactEncoder(TINY)
    model = FrameClassifier(encoder, 7)
    for block in encoder.blocks:
        torch.nn.init.ones_(block.norm2.weight)  # type: ignore[union-attr, arg-type]
    model(torch.rand(4, 1, 40, 40) * 255).square().sum().backward()
    without = [name for name, p in model.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    assert without == []


SEPARABLE = SeparableConfig(size_px=40, stem=8, widths=(16, 24, 24), strides=(2, 2, 1), taps=(1, 2), feature=16)


def test_the_separable_encoder_gives_one_feature_per_crop_and_learns_in_every_layer() -> None:
    torch.manual_seed(0)
    model = FrameClassifier(SeparableEncoder(SEPARABLE), 7)
    assert model.encoder(torch.rand(3, 3, 48, 48)).shape == (3, 16)
    model(torch.rand(4, 1, 40, 40) * 255).square().sum().backward()
    without = [name for name, p in model.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    assert without == []


def test_a_strided_block_halves_even_and_odd_sides() -> None:
    assert pad_same(torch.zeros(1, 1, 8, 8)).shape[-1] == 9
    assert pad_same(torch.zeros(1, 1, 7, 7)).shape[-1] == 9
    block = SeparableBlock(2, 3, 2).eval()
    assert block(torch.zeros(1, 2, 8, 8)).shape == block(torch.zeros(1, 2, 7, 7)).shape == (1, 3, 4, 4)


def test_separable_features_come_from_every_tap() -> None:
    encoder = SeparableEncoder(SEPARABLE).eval()
    crops = torch.rand(2, 1, 40, 40) * 255
    whole = encoder.encode_grey(crops)
    with torch.no_grad():
        encoder.project.weight[:, :24] = 0
    assert (encoder.encode_grey(crops) - whole).abs().max() > 1e-3


@pytest.mark.parametrize("shape", [TINY, SEPARABLE], ids=["residual", "separable"])
def test_a_shape_comes_back_from_its_record(shape: EncoderConfig | SeparableConfig) -> None:
    read = read_shape(json.loads(json.dumps(asdict(shape))))
    assert read == shape
    assert build_encoder(read).config == shape
