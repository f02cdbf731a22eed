"""What only a real device can prove: ``make gpu``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from engine.backends import open_backend
from engine.bench.latency import measure, table
from engine.build.build import build
from engine.build.gate import replay
from engine.build.options import BuildOptions
from engine.bundle import Bundle, softmax
from tests.engine.torch_paths import compare_paths
from train.bundle.random_bundle import random_bundle


@pytest.fixture(scope="module")
def vit_b_32(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """TG-DFER on a full-size encoder with a trained CLIP's outliers; only speed and rounding are looked at."""
    return random_bundle("tg-dfer", "vit-b-32", tmp_path_factory.mktemp("vit") / "bundle", outlier_heavy=True)


def streaming_equals_offline(backend: Any, bundle: Bundle, tolerance: float) -> None:
    golden, window = bundle.golden(), bundle.spec.window
    ring = backend.ring(3, window)
    same, worst = [], 0.0
    for step in range(70):
        units = [(step * 3 + slot) % len(golden.crops) for slot in range(3)]
        features = backend.encode(golden.crops[units])
        for slot in range(3):
            ring.push(slot, features[slot])
        index = np.stack([ring.index(slot, window) for slot in range(3)])
        probs = softmax(backend.head(ring.flat, index).logits)
        rows = [
            [(max(i, 0) * 3 + slot) % len(golden.crops) for i in range(step - window + 1, step + 1)]
            for slot in range(3)
        ]
        reference = open_backend_cached(bundle).head(golden.features, np.array(rows, np.int32))
        wanted = softmax(reference.logits)
        worst = max(worst, float(np.abs(probs - wanted).max()))
        same += (probs.argmax(1) == wanted.argmax(1)).tolist()
    assert worst <= tolerance
    assert np.mean(same) >= 0.99


_REFERENCE: dict[str, Any] = {}


def open_backend_cached(bundle: Bundle) -> Any:
    if bundle.sha256 not in _REFERENCE:
        _REFERENCE[bundle.sha256] = open_backend(bundle, "onnxruntime")
    return _REFERENCE[bundle.sha256]


def test_streaming_check_itself_on_the_cpu(exported: Bundle) -> None:
    backend = open_backend(exported, "torch", precision="fp16")
    streaming_equals_offline(backend, exported, 2e-2)
    backend.close()


def test_comparison_of_paths_on_the_cpu(exported: Bundle) -> None:
    rows = compare_paths(exported.path, (1, 2), "fp32", "cpu", compiled=False, rounds=2)
    assert [row["batch"] for row in rows] == [1, 2]
    assert all(row["graph_ms"] > 0 and row["floor_ms"] > 0 and row["graph_note"] == "not a GPU" for row in rows)


@pytest.mark.gpu
@pytest.mark.parametrize(
    ("model", "precision"),
    [("exported", "fp16"), ("exported", "bf16"), ("exported", "fp32"), ("vit_b_32", "fp16"), ("vit_b_32", "fp32")],
)
def test_torch_cuda_graphs_reproduce_the_golden_vectors(
    request: pytest.FixtureRequest, model: str, precision: str
) -> None:
    bundle: Bundle = request.getfixturevalue(model)
    backend: Any = open_backend(bundle, "torch", precision=precision)
    assert replay(backend, bundle.golden()).max_delta <= 0.02
    assert backend.graph_note is None
    streaming_equals_offline(backend, bundle, 2e-2)
    backend.close()


@pytest.mark.gpu
def test_torch_step_beside_eager_compile_and_floor(vit_b_32: Bundle, capsys: pytest.CaptureFixture[str]) -> None:
    rows = compare_paths(vit_b_32.path)
    with capsys.disabled():
        print(
            "\n| batch | CUDA graph ms | eager ms | compile ms | step ms | floor ms | to floor |"
            "\n|---|---|---|---|---|---|---|"
        )
        for r in rows:
            values = (r[k] for k in ("batch", "graph_ms", "eager_ms", "compile_ms", "step_ms", "floor_ms", "to_floor"))
            print("| " + " | ".join(str(v) for v in values) + " |")
    assert all(row["graph_note"] is None for row in rows)


@pytest.mark.gpu
@pytest.mark.parametrize("model", ["exported", "vit_b_32"])
@pytest.mark.parametrize("precision", ["fp16", "fp32"])
def test_tensorrt_plan_is_built_proven_and_streams(
    request: pytest.FixtureRequest, tmp_path: Path, model: str, precision: str, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("tensorrt")
    bundle: Bundle = request.getfixturevalue(model)
    built = build(bundle.path, tmp_path / "engine", "tensorrt", BuildOptions(precision=precision))
    assert built.parity.max_delta <= 0.02
    backend: Any = open_backend(built.engine.path)
    streaming_equals_offline(backend, bundle, 2e-2)
    assert backend.graph_note is None
    backend.close()
    with capsys.disabled():
        print("\n" + "\n".join(table(measure(built.engine.path))))
