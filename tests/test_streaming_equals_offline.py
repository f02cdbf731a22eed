"""The daemon's window over each model's exported graphs equals PyTorch on the whole clip, at every completed hop.

So the trainer's model, the exported graphs, the back end, the feature ring and the window's padding agree to 1e-5.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from engine.backends import open_backend
from engine.bundle import Bundle, softmax
from engine.spec import ModelSpec
from stream.window.windows import FaceWindows
from train.bundle.random_bundle import random_bundle, smooth_crops
from train.models.registry import build
from train.models.window import ExpressionModel

MODELS = ("tg-dfer", "tg-dfer, attention pool", "dk-clip", "clip-guided")
EXTRA = 7


@pytest.fixture(scope="module", params=MODELS)
def exported(
    request: pytest.FixtureRequest, tiny_bundle: Callable[..., Bundle], tmp_path_factory: pytest.TempPathFactory
) -> tuple[ExpressionModel, Path]:
    """A model with random weights, and its bundle."""
    torch.set_num_threads(1)
    name, _, pool = request.param.partition(", ")
    if pool:
        options, path = {"pool": "attention"}, tmp_path_factory.mktemp("bundle") / "model"
        random_bundle(name, "tiny", path, options=options, golden_units=8)
    else:
        options, path = {}, tiny_bundle(name).path
    torch.manual_seed(0)
    return build(name, "tiny", options).eval(), path


def window_frames(spec: ModelSpec, count: int) -> list[int]:
    """Which of `count` frames fill the newest window of finished units, padded at the front with its first unit."""
    if spec.window == 1:
        # It scores at every hop: where the first unit is not full yet, the oldest frame fills its front.
        usable = count - count % spec.hop
        return [max(i, 0) for i in range(usable - spec.unit, usable)]
    finished = [list(range(i, i + spec.unit)) for i in range(0, count - spec.unit + 1, spec.unit)]
    newest = finished[-spec.window :]
    return [i for unit in [newest[0]] * (spec.window - len(newest)) + newest for i in unit]


def per_frame(relevance: np.ndarray, frames: list[int]) -> np.ndarray:
    """Relevance of each distinct frame, its repetitions summed.

    How a max pool of equal values shares relevance among the repetitions of one frame is decided by rounding.
    """
    return np.bincount(frames, weights=relevance.astype(np.float64) / relevance.astype(np.float64).sum())


@pytest.mark.parametrize("backend", ["onnxruntime", "openvino"])
def test_every_model_streams_what_pytorch_says_offline(exported: tuple[ExpressionModel, Path], backend: str) -> None:
    model, path = exported
    spec = model.spec()
    frames = smooth_crops(spec, -(-(spec.samples + 2 * spec.unit + EXTRA) // spec.unit), 5)
    frames = frames.reshape(-1, *frames.shape[2:])
    windows = FaceWindows(spec, open_backend(path, backend, threads=1, precision="fp32"), faces=1)
    scored = 0
    for i, crop in enumerate(frames):
        windows.observe(["a"], i * 125_000_000, 10**9)
        windows.step(i, {"a": crop}, i * 125_000_000, i)
        if (i + 1) % spec.hop:
            continue
        score = windows.report("a").score
        assert score is not None
        assert score.frame_id == i
        chosen = window_frames(spec, i + 1)
        clip = torch.from_numpy(frames[chosen]).permute(0, 3, 1, 2)[None] / 255
        with torch.no_grad():
            whole = model((clip - model.mean) / model.std)
        np.testing.assert_allclose(softmax(score.logits), softmax(whole.logits[0].numpy()), atol=1e-5, rtol=0)
        expected = per_frame(whole.relevance[0].numpy(), chosen)
        np.testing.assert_allclose(per_frame(score.relevance, chosen), expected, atol=1e-5, rtol=0)
        scored += 1
    assert scored == len(frames) // spec.hop
