from __future__ import annotations

from pathlib import Path

import pytest

from engine.backends import cpu_precision, open_backend
from engine.bench.baseline import openvino_alone_ms
from engine.bundle.bundle import Bundle


def test_small_encoders_stay_exact(tmp_path: Path) -> None:
    weights = tmp_path / "encoder.onnx.data"
    weights.write_bytes(b"x" * 1000)
    assert cpu_precision.choose_precision(weights) == "fp32"
    assert cpu_precision.choose_precision(tmp_path / "absent") == "fp32"


@pytest.mark.parametrize(
    ("times", "expected"),
    [({"fp32": 2.0}, "fp32"), ({"fp32": 2.0, "bf16": 1.0}, "bf16"), ({"fp32": 1.0, "bf16": 1.4}, "fp32")],
)
def test_large_encoders_take_what_is_faster_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, times: dict[str, float], expected: str
) -> None:
    weights = tmp_path / "encoder.onnx.data"
    with weights.open("wb") as file:
        file.truncate(cpu_precision.SMALL_BYTES)
    monkeypatch.setattr(cpu_precision, "measure", lambda threads=None: times)
    assert cpu_precision.choose_precision(weights, 1) == expected


def test_measuring_runs_each_format_this_cpu_has() -> None:
    times = cpu_precision.measure(1)
    assert times["fp32"] > 0
    assert set(times) <= {"fp32", "bf16"}


@pytest.mark.parametrize(("precision", "kind"), [("fp32", "f32"), ("bf16", "bf16"), (None, "f32")])
def test_the_baseline_computes_in_the_precision_of_what_it_is_held_against(
    exported: Bundle, precision: str | None, kind: str
) -> None:
    if precision == "bf16" and "bf16" not in cpu_precision.measure(1):
        pytest.skip("this CPU has no bf16")
    figures = openvino_alone_ms(exported.encoder, exported.spec, 1, 3, precision)
    assert figures["precision"] == kind
    backend = open_backend(exported, "openvino", 1, precision)
    assert backend.precision == (precision or "fp32")
    backend.close()
