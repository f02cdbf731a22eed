from __future__ import annotations

import os
import socket
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream.health.health import Health, Heartbeats, Percentiles, RateMeter
from stream.health.machine import memory_mb, temperatures_c
from stream.health.notify import Notifier

S = 1_000_000_000


@given(st.integers(1, 40), st.lists(st.floats(0, 1e4), min_size=1, max_size=100))
def test_percentiles_are_of_the_newest_numbers_and_occurred(size: int, values: list[float]) -> None:
    kept = Percentiles(size)
    for value in values:
        kept.add(value)
    summary = kept.summary()
    newest = sorted(values[-size:])
    assert summary is not None
    assert summary.n == len(newest)
    assert summary.p50 == round(newest[int(np.ceil(0.5 * len(newest))) - 1], 3)
    assert summary.p99 == round(newest[int(np.ceil(0.99 * len(newest))) - 1], 3)


@given(st.floats(0.5, 240))
def test_a_steady_rate_is_measured(hz: float) -> None:
    meter = RateMeter()
    assert meter.hz(0) is None
    t = 0
    for i in range(1500):
        t = int(i * S / hz)
        meter.add(t)
    measured = meter.hz(t)
    assert measured is not None
    assert abs(measured - hz) < 0.01 * hz


def test_a_stall_shows_at_once_and_ends_at_zero() -> None:
    meter = RateMeter(span_s=5)
    for i in range(150):
        meter.add(i * S // 30)
    half_a_second, two_seconds = meter.hz(5 * S + S // 2), meter.hz(7 * S)
    assert half_a_second is not None
    assert two_seconds is not None
    assert two_seconds < half_a_second < 29.9
    assert meter.hz(20 * S) == 0


def test_a_silent_stage_is_stale_alone() -> None:
    beats = Heartbeats({"camera": 1.0, "infer": 5.0}, t_ns=0)
    assert beats.stale(S) == []
    beats.beat("infer", 3 * S)
    assert beats.stale(4 * S) == ["camera"]
    beats.beat("camera", 4 * S)
    assert beats.stale(4 * S) == []
    assert beats.stale(60 * S) == ["camera", "infer"]
    with pytest.raises(KeyError):
        beats.beat("unknown", 0)


def test_state_says_starting_ok_or_degraded() -> None:
    health = Health(0)
    assert health.state("ok", []) == "starting"
    health.captured(S)
    health.took("detect", 2.0)
    assert health.state("ok", []) == "ok"
    assert health.state("no_camera", []) == "degraded"
    assert health.state("ok", ["infer"]) == "degraded"
    health.degraded.add("backend")
    assert health.state("ok", []) == "degraded"
    assert health.latency_ms()["detect"].p99 == 2.0


def test_temperatures_leave_out_zones_that_cannot_be_read(tmp_path: Path) -> None:
    for i, (kind, value) in enumerate((("cpu", "45500"), ("gpu", "-256000"), ("cpu", "50000"), ("x", "what"))):
        zone = tmp_path / f"thermal_zone{i}"
        zone.mkdir()
        (zone / "type").write_text(kind + "\n")
        (zone / "temp").write_text(value + "\n")
    (tmp_path / "thermal_zone9").mkdir()
    assert temperatures_c(tmp_path) == {"cpu": 45.5, "cpu-2": 50.0}
    assert temperatures_c(tmp_path / "none") is None


def test_memory_of_this_process_is_plausible() -> None:
    found = memory_mb()
    assert found is not None
    assert 10 < found < 100_000


@pytest.mark.parametrize("abstract", [False, True])
def test_systemd_hears_ready_status_watchdog_and_stopping(tmp_path: Path, abstract: bool) -> None:
    address = f"\0dfer-test-{os.getpid()}" if abstract else str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(address)
        manager.settimeout(5)
        env = {
            "NOTIFY_SOCKET": address.replace("\0", "@"),
            "WATCHDOG_USEC": "4000000",
            "WATCHDOG_PID": str(os.getpid()),
        }
        notifier = Notifier.from_environment(env)
        assert env == {}
        assert notifier.watchdog_interval_s == 2.0
        assert notifier.ready("publishing\non ipc")
        assert manager.recv(4096) == b"READY=1\nSTATUS=publishing on ipc"
        assert notifier.status("30 fps")
        assert manager.recv(4096) == b"STATUS=30 fps"
        assert notifier.feed(0, fresh=True)
        assert manager.recv(4096) == b"WATCHDOG=1"
        assert not notifier.feed(1_900_000_000, fresh=True)
        assert not notifier.feed(3 * S, fresh=False)
        assert notifier.feed(3 * S, fresh=True)
        assert manager.recv(4096) == b"WATCHDOG=1"
        assert notifier.stopping()
        assert manager.recv(4096) == b"STOPPING=1"
        notifier.close()
        assert not notifier.ready()


def test_started_by_hand_nothing_is_sent_and_a_watchdog_of_another_process_is_not_ours() -> None:
    by_hand = Notifier.from_environment({})
    assert not by_hand.ready()
    assert not by_hand.feed(0, fresh=True)
    assert by_hand.watchdog_interval_s is None
    other = Notifier.from_environment({"NOTIFY_SOCKET": "/nowhere", "WATCHDOG_USEC": "1000", "WATCHDOG_PID": "1"})
    assert other.watchdog_interval_s is None
    assert not other.ready()  # nobody there: false, no exception
    other.close()
