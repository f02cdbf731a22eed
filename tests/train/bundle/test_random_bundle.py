"""Bundles with random weights: exported graphs answer as the models do, and heavy channels change no
answer."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch

from engine.bundle import Bundle
from train.bundle import random_bundle
from train.cli import main
from train.models.clip.size import SIZES
from train.models.clip.vision import VisionTransformer
from train.models.registry import build


@pytest.mark.parametrize("name", ["tg-dfer", "dk-clip", "clip-guided"])
def test_exported_graphs_answer_as_the_model_at_every_batch(name: str, tiny_bundle: Callable[..., Bundle]) -> None:
    bundle = tiny_bundle(name)
    spec = Bundle.open(bundle.path).spec
    assert spec == bundle.spec
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = build(name, "tiny").eval()
    encoder = onnxruntime.InferenceSession(bundle.path / "encoder.onnx")
    head = onnxruntime.InferenceSession(bundle.path / "head.onnx")
    for batch in (1, 3):
        crops = random_bundle.smooth_crops(spec, batch * spec.window, seed=batch)
        features = encoder.run(None, {"crops": crops})[0]
        index = np.arange(batch * spec.window, dtype=np.int32).reshape(batch, spec.window)
        answer = head.run(None, {"ring": features, "index": index})
        with torch.no_grad():
            units = model.encode_units(torch.from_numpy(crops))
            expected = model.head(units.reshape(batch, spec.window, -1))
        probs = torch.from_numpy(answer[0]).softmax(-1)
        torch.testing.assert_close(probs, expected.logits.softmax(-1), atol=1e-5, rtol=0)
        torch.testing.assert_close(torch.from_numpy(answer[1]), expected.relevance, atol=2e-5, rtol=0)
        if spec.has_now:
            assert expected.now is not None
            now = torch.from_numpy(answer[2]).softmax(-1)
            torch.testing.assert_close(now, expected.now.softmax(-1), atol=1e-5, rtol=0)


@pytest.mark.parametrize("name", ["tg-dfer", "dk-clip", "clip-guided"])
def test_outliers_are_massive_constant_and_allowed_for(name: str) -> None:
    torch.manual_seed(0)
    model = build(name, "tiny").eval()
    vision = next(m for m in model.modules() if isinstance(m, VisionTransformer))
    frames = torch.randn(8, 3, 32, 32)
    grey = torch.empty_like(frames).uniform_(-1, 1) / 255 / 0.27  # one grey level, normalised as CLIP's crops are
    with torch.no_grad():
        usual = vision(frames, 8)
        random_bundle.make_outlier_heavy(vision)
        stream, planted, disturbed = vision.tokens(frames, 8), vision(frames, 8), vision(frames + grey, 8)
    mean, deviation = stream.mean(0), stream.std(0)  # [L, D], over the frames
    assert stream.abs().max() > 200
    assert stream.abs().max() > 100 * stream.abs().median()
    heavy = mean.abs() > 30  # in every token three constants and the late one, and the registers'
    assert int(heavy.sum()) == len(mean) * len(random_bundle.CONSTANTS) + random_bundle.REGISTERS
    assert float((deviation[heavy] / mean[heavy].abs()).max()) < 0.1
    assert 0.5 < float(planted.norm() / usual.norm()) < 2
    assert float((disturbed - planted).norm() / planted.norm()) < 0.02


def test_equal_seeds_give_equal_crops_and_frames_drift() -> None:
    spec = build("dk-clip", "tiny").spec()
    first, second = (random_bundle.smooth_crops(spec, 8, seed=5) for _ in range(2))
    assert first.shape == (8, 4, SIZES["tiny"].image_px, SIZES["tiny"].image_px, 3)
    assert np.array_equal(first, second)
    assert not np.array_equal(first[:, 0], first[:, 3])


def test_command_refuses_in_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["random-bundle", "tg-dfre", str(tmp_path / "b")]) == 2
    error = capsys.readouterr().err
    assert "did you mean 'tg-dfer'?" in error
    assert error.count("\n") == 1
    assert not (tmp_path / "b").exists()
