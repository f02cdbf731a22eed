from __future__ import annotations

from pathlib import Path

import pytest

from engine.backends import cpu_precision


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
