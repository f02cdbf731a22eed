from __future__ import annotations

from typing import Any

import openvino as ov
import pytest

from engine import timing
from engine.bench import machine
from engine.bench.machine import Speed, gpu_speed, openvino_gflops


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every piece of work takes one millisecond."""
    readings = iter(range(0, 10**12, 10**6))
    monkeypatch.setattr("engine.timing.time.perf_counter_ns", lambda: next(readings))


@pytest.fixture
def compiled(monkeypatch: pytest.MonkeyPatch) -> list[tuple[list[str], ov.Type]]:
    """Operators and precision of every model that OpenVINO compiles."""
    seen: list[tuple[list[str], ov.Type]] = []

    class Watched(ov.Core):  # type: ignore[misc]
        def compile_model(self, model: Any, device: str, config: dict[str, Any]) -> Any:
            kinds = [op.get_type_name() for op in model.get_ops()]
            seen.append((kinds, config["INFERENCE_PRECISION_HINT"]))
            return super().compile_model(model, device, config)

    monkeypatch.setattr(ov, "Core", Watched)
    return seen


@pytest.mark.parametrize(
    ("precision", "hint", "quantised"),
    [("fp32", ov.Type.f32, 0), ("bf16", ov.Type.bf16, 0), ("int8", ov.Type.f32, 2)],
)
def test_a_peak_is_of_a_product_in_the_precision_asked_for(
    clock: None, compiled: list[tuple[list[str], ov.Type]], precision: str, hint: ov.Type, quantised: int
) -> None:
    """A product of 1024 x 1024 is 2^31 operations: in a millisecond, 2147.5 of 10^9 a second."""
    assert openvino_gflops(precision) == pytest.approx(2147.5, abs=0.05)
    [(kinds, used)] = compiled
    assert used == hint
    assert kinds.count("MatMul") == 1
    assert kinds.count("FakeQuantize") == quantised  # both factors, or OpenVINO computes in float


def test_speed_is_operations_and_bytes_by_time(clock: None) -> None:
    speed = machine.cpu_speed()
    assert (speed.calibration_ms, speed.gflops, speed.copy_gbs) == (1.0, 2147.5, 268.4)
    # In torch a product of 512 x 512 and 4 MiB.
    assert gpu_speed(speed, "fp32", "cpu") == Speed(1.0, 268.4, 4.2)


def test_works_that_take_turns_are_warmed_up_and_timed_alike() -> None:
    order: list[str] = []
    times = timing.in_turns({"a": lambda: order.append("a"), "b": lambda: order.append("b")}, rounds=2, warm_up=1)
    assert order == ["a", "b"] * 3
    assert [len(times[name]) for name in "ab"] == [2, 2]
