from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from engine.bundle.bundle import Bundle
from engine.settings import SettingsError
from stream.assemble import DEFAULT_BUNDLE, encode_stride, load_model
from stream.config import ModelSettings


def test_the_default_bundle_is_whole_and_small() -> None:
    bundle = Bundle.open(DEFAULT_BUNDLE)
    assert bundle.spec.name == "tg-dfer"
    assert bundle.spec.feature <= 256
    assert bundle.spec.samples == 16
    assert sum(file.stat().st_size for file in DEFAULT_BUNDLE.iterdir()) <= 15_000_000
    assert "licence" in (DEFAULT_BUNDLE / "MODEL_CARD.md").read_text("utf-8").lower()


def test_encode_hz_is_a_multiple_of_the_models_rate(small_bundle: Callable[[str], Path]) -> None:
    frames = Bundle.open(small_bundle("frames")).spec
    assert [encode_stride(hz, frames) for hz in (None, 8.0, 16.0, 32.0)] == [1, 1, 2, 4]
    for wrong in (4.0, 12.0, 8.1):
        with pytest.raises(SettingsError, match="whole multiple"):
            encode_stride(wrong, frames)
    with pytest.raises(SettingsError, match="units of 4"):
        encode_stride(16.0, Bundle.open(small_bundle("snippets")).spec)


def test_identity_says_what_runs(small_bundle: Callable[[str], Path]) -> None:
    model = load_model(ModelSettings(bundle=small_bundle("frames"), threads=1))
    said = model.identity()
    assert (said.name, said.backend, said.sha256) == (model.spec.name, "openvino", model.artefact.sha256)
    assert said.precision in ("fp32", "bf16")
    assert model.fall_back().name == "onnxruntime"
    assert model.identity().backend == "onnxruntime"
    model.backend.close()
