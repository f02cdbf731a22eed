"""Each of the three models, from random weights to verified engines: small here, full size in ``make test-full``."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from engine.build.build import build
from engine.build.options import BuildOptions
from engine.bundle import Bundle
from engine.graph import convert, half
from engine.graph import onnx_file as graph
from engine.graph.check import check_form, measured
from train.bundle.random_bundle import random_bundle

MODELS = ("tg-dfer", "dk-clip", "clip-guided")


def to_engines(bundle: Bundle, folder: Path) -> list[str]:
    """Build for both CPU back ends; a line per engine."""
    lines = []
    for backend in ("openvino", "onnxruntime"):
        built = build(bundle.path, folder / backend, backend, BuildOptions(precision="fp32"))
        assert built.parity.windows >= 200
        assert built.parity.top1 == 1.0
        assert built.seconds < 180
        lines.append(f"{bundle.spec.name} {backend}: {built.seconds:.1f} s, max |dp| {built.parity.max_delta:.2e}")
    return lines


def half_stays_correct(bundle: Bundle) -> str:
    """Every rule in FP32 and in mixed FP16, form and run alike; the figures as a line."""
    models = [graph.load(path) for path in (bundle.encoder, bundle.head)]
    assert [str(finding) for model in models for finding in check_form(model)] == []
    mixed = [convert.to_half(model) for model in models]
    assert [str(finding) for model in mixed for finding in check_form(model)] == []
    golden = bundle.golden()
    assert len(golden.windows) >= 200
    run = half.run(mixed[0], mixed[1], golden)
    assert [str(finding) for finding in (*measured.activation_range(run), *measured.rounding(run, golden))] == []
    delta = float(np.abs(run.probs - golden.probs).max())
    same = float((run.probs.argmax(1) == golden.probs.argmax(1)).mean())
    return (
        f"{bundle.spec.name} rounded to half after every node: max |dp| {delta:.5f}, {same:.1%} equal classes of "
        f"{len(golden.windows)} windows, largest magnitude {max(run.peaks.values()):.0f}"
    )


@pytest.mark.parametrize("outlier_heavy", [False, True])
@pytest.mark.parametrize("name", MODELS)
def test_small_models_build_prove_and_stay_correct_in_half(
    tiny_bundle: Callable[..., Bundle], name: str, outlier_heavy: bool, tmp_path: Path
) -> None:
    bundle = tiny_bundle(name, outlier_heavy)
    to_engines(bundle, tmp_path)
    half_stays_correct(bundle)
    for part in ("encoder", "head"):
        weights = graph.read_weights(bundle.path, part)
        assert weights
        assert all(np.isfinite(array).all() for array in weights.values())


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("name", MODELS)
def test_full_size_models_build_prove_and_stay_correct_in_half(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bundle = random_bundle(name, "vit-b-32", tmp_path / "bundle")
    lines = [*to_engines(bundle, tmp_path), half_stays_correct(bundle)]
    with capsys.disabled():
        print("\n" + "\n".join(lines))


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("name", MODELS)
def test_full_size_models_with_a_trained_clips_outliers_stay_correct_in_half(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    line = half_stays_correct(random_bundle(name, "vit-b-32", tmp_path / "bundle", outlier_heavy=True))
    with capsys.disabled():
        print(f"\noutlier-heavy: {line}")
