"""The life of a camera with injected faults: only the driver is a fake."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import psutil
import pytest

from stream.camera import Camera, CameraError, CameraSettings
from tests.stream.camera.fakes import DRIVER, DYING, steer
from tests.stream.camera.reading import read_until
from tests.waiting import wait_for

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def script(tmp_path: Path) -> Path:
    path = tmp_path / "mode"
    steer(path, "ok")
    return path


def settings(**changes: int | str) -> CameraSettings:
    base: dict[str, int | str] = {"driver": DRIVER, "backoff_min_ms": 5, "backoff_max_ms": 20}
    return CameraSettings(**{**base, **changes})  # type: ignore[arg-type]


def test_frames_are_new_rgb_counted_and_timed(script: Path) -> None:
    with Camera(f"v4l2://{script}", settings()) as camera:
        frames = read_until(camera, lambda: camera.stats.delivered >= 20)
        read_until(camera, lambda: camera.stats.captured - camera.stats.delivered >= 0)
        stats = camera.stats
        assert [f.seq for f in frames] == sorted({f.seq for f in frames})
        assert stats.dropped == frames[-1].seq + 1 - len(frames)
        assert stats.captured >= stats.delivered + stats.dropped
        assert (stats.fps, stats.width, stats.height) == (100.0, 64, 48)
        for frame in frames:
            assert frame.image.shape == (48, 64, 3)
            assert frame.t_capture_src == "driver"
            assert 0 <= time.monotonic_ns() - frame.t_capture_ns < 60e9
            assert abs((time.time_ns() - frame.t_capture_unix_ns) - (time.monotonic_ns() - frame.t_capture_ns)) < 1e9
        assert camera.state == "ok"


def test_a_slow_reader_gets_the_newest_frame_and_an_exact_count_of_drops(script: Path) -> None:
    with Camera(f"v4l2://{script}", settings()) as camera:
        read_until(camera, lambda: camera.stats.delivered >= 1)
        before = camera.stats
        wait_for(lambda: camera.stats.captured >= before.captured + 10)
        frame = camera.read(1.0)
        assert frame is not None
        assert frame.seq >= before.captured + 9
        assert camera.stats.dropped == frame.seq + 1 - camera.stats.delivered
        assert camera.stats.dropped >= before.dropped + 9


def test_the_callers_picture_is_never_overwritten(script: Path) -> None:
    with Camera(f"v4l2://{script}", settings()) as camera:
        first = read_until(camera, lambda: camera.stats.delivered >= 1)[0]
        kept = first.image.copy()
        read_until(camera, lambda: camera.stats.delivered >= 10)
        assert (first.image == kept).all()


def test_a_missing_camera_comes_later(script: Path) -> None:
    steer(script, "absent")
    with Camera(f"v4l2://{script}", settings()) as camera:
        read_until(camera, lambda: "not plugged in" in camera.stats.message)
        assert camera.state == "no_camera"
        steer(script, "ok")
        read_until(camera, lambda: camera.state == "ok")
        assert camera.stats.restarts == 0


def test_unplug_is_no_camera_and_replug_resumes(script: Path) -> None:
    with Camera(f"v4l2://{script}", settings()) as camera:
        frames = read_until(camera, lambda: camera.stats.delivered >= 3)
        steer(script, "absent")
        frames += read_until(camera, lambda: camera.state == "no_camera")
        steer(script, "ok")
        frames += read_until(camera, lambda: camera.state == "ok")
        assert camera.stats.reconnects == 1
        assert [f.seq for f in frames] == sorted({f.seq for f in frames})


def test_a_hanging_read_is_stalled_then_killed_and_resumes(script: Path) -> None:
    with Camera(f"v4l2://{script}", settings(restart_ms=600)) as camera:
        read_until(camera, lambda: camera.stats.delivered >= 3)
        steer(script, "hang")
        read_until(camera, lambda: camera.state == "stalled")
        steer(script, "ok")
        frames = read_until(camera, lambda: camera.state == "ok")
        assert camera.stats.restarts == 1
        assert frames[-1].seq == camera.stats.captured - 1 or camera.stats.captured > frames[-1].seq


def test_read_returns_at_the_stall_not_at_its_timeout(script: Path) -> None:
    with Camera(f"v4l2://{script}", settings()) as camera:
        read_until(camera, lambda: camera.stats.delivered >= 3)
        steer(script, "hang")
        while camera.read(30.0) is not None:
            pass
        assert camera.state == "stalled"


def test_a_hanging_open_is_killed_and_tried_again(script: Path) -> None:
    steer(script, "hang_open")
    with Camera(f"v4l2://{script}", settings(open_timeout_ms=300)) as camera:
        read_until(camera, lambda: camera.stats.restarts >= 1)
        assert camera.state == "no_camera"
        steer(script, "ok")
        read_until(camera, lambda: camera.state == "ok")


def test_a_frozen_camera_is_told_and_recovers(script: Path) -> None:
    with Camera(f"v4l2://{script}", settings(frozen_ms=200, restart_ms=1500)) as camera:
        read_until(camera, lambda: camera.stats.delivered >= 3)
        steer(script, "freeze")
        read_until(camera, lambda: camera.state == "frozen")
        before = camera.stats
        assert read_until(camera, lambda: camera.stats.repeated > before.repeated) == []
        assert (camera.stats.delivered, camera.stats.dropped) == (before.delivered, before.dropped)
        read_until(camera, lambda: camera.stats.restarts >= 1)
        steer(script, "ok")
        read_until(camera, lambda: camera.state == "ok")


def test_a_change_of_frame_size_goes_through(script: Path) -> None:
    with Camera(f"v4l2://{script}", settings()) as camera:
        read_until(camera, lambda: camera.stats.delivered >= 2)
        steer(script, "big")
        frames = read_until(camera, lambda: camera.stats.width == 128)
        assert frames[-1].image.shape == (96, 128, 3)


def test_a_crashing_driver_is_replaced(script: Path) -> None:
    with Camera(f"v4l2://{script}", settings(driver=DYING)) as camera:
        frames = read_until(camera, lambda: camera.stats.restarts >= 2 and camera.stats.delivered >= 3)
        assert [f.seq for f in frames] == sorted({f.seq for f in frames})


def test_an_unknown_driver_is_an_error(script: Path) -> None:
    with (
        Camera(f"v4l2://{script}", settings(driver="tests.stream.nowhere:Nothing")) as camera,
        pytest.raises(CameraError, match="cannot be imported"),
    ):
        read_until(camera, lambda: False)


def test_misuse_is_refused(script: Path) -> None:
    camera = Camera(f"v4l2://{script}", settings())
    with pytest.raises(CameraError, match="start"):
        camera.read(0)
    camera.start()
    with pytest.raises(CameraError, match="started before"):
        camera.start()
    camera.close()
    camera.close()
    with pytest.raises(CameraError, match="start"):
        camera.read(0)


def test_thirty_unplugs_leave_nothing_behind(script: Path) -> None:
    unplug(script, 30)


@pytest.mark.slow
def test_a_hundred_unplugs_leave_nothing_behind(script: Path) -> None:
    unplug(script, 100)


def unplug(script: Path, cycles: int) -> None:
    """Half of the cycles lose the device, every tenth hangs: the capture process itself is replaced."""
    me = psutil.Process()
    with Camera(f"v4l2://{script}", settings(stall_ms=150, restart_ms=500)) as camera:
        read_until(camera, lambda: camera.state == "ok")
        sizes = []
        for cycle in range(cycles):
            steer(script, "hang" if cycle % 10 == 9 else "absent")
            read_until(camera, lambda: camera.state != "ok")
            steer(script, "ok")
            read_until(camera, lambda: camera.state == "ok")
            # A killed process may take a moment to go; the camera collects it as it reads.
            read_until(camera, lambda: len(me.children()) == 1)
            child = me.children()[0]
            sizes.append(
                (
                    me.num_fds(),
                    threading.active_count(),
                    len(me.children()),
                    child.num_fds(),
                    child.num_threads(),
                )
            )
            if cycle == cycles // 3:
                early_mb = me.memory_info().rss / 1e6
        assert sizes[-1] == sizes[0] == max(sizes)
        assert me.memory_info().rss / 1e6 - early_mb < 8
        assert camera.stats.reconnects >= cycles
        assert camera.stats.restarts == cycles // 10
    assert me.children() == []


def test_closing_leaves_no_descriptor_process_or_shared_memory(script: Path) -> None:
    me = psutil.Process()
    segments, descriptors = set(os.listdir("/dev/shm")), me.num_fds()
    for _ in range(3):
        with Camera(f"v4l2://{script}", settings()) as camera:
            read_until(camera, lambda: camera.state == "ok")
    assert me.num_fds() == descriptors
    assert me.children() == []
    assert set(os.listdir("/dev/shm")) == segments


PARENT = """
import signal, sys
from stream.camera import Camera, CameraSettings
camera = Camera(sys.argv[1], CameraSettings(driver=sys.argv[2] or None))
camera.start()
while camera.read(1.0) is None:
    pass
print(camera._process.pid, flush=True)
signal.pause()
"""


@pytest.mark.parametrize("mode", ["ok", "hang"])
def test_nothing_outlives_a_killed_parent(script: Path, mode: str) -> None:
    segments = set(os.listdir("/dev/shm"))
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT, f"v4l2://{script}", DRIVER],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert parent.stdout is not None
    assert parent.stderr is not None
    child = psutil.Process(int(parent.stdout.readline()))
    steer(script, mode)
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    wait_for(lambda: not child.is_running() or child.status() == psutil.STATUS_ZOMBIE)
    assert set(os.listdir("/dev/shm")) == segments
    assert parent.stderr.read() == b""
    parent.stdout.close()
    parent.stderr.close()


def test_the_password_is_on_no_command_line(tmp_path: Path) -> None:
    with Camera("rtsp://user:S3cret@127.0.0.1:9/x", CameraSettings()) as camera:
        camera.read(0.01)
        for process in psutil.Process().children(recursive=True):
            assert "S3cret" not in " ".join(process.cmdline())
            assert not any("S3cret" in value for value in process.environ().values())
        read_until(camera, lambda: camera.stats.message != "")
        assert "S3cret" not in camera.stats.message


def test_a_camera_started_in_a_thread_that_ends_goes_on(script: Path) -> None:
    camera = Camera(f"v4l2://{script}", settings())
    starter = threading.Thread(target=camera.start)
    starter.start()
    starter.join()
    read_until(camera, lambda: camera.stats.delivered >= 10)
    assert camera.stats.restarts == 0
    camera.close()


def test_a_file_that_was_launched_early_plays_from_its_first_read() -> None:
    """Its process starts while a model loads; what is shown meanwhile would be lost."""
    with Camera("demo://") as played:
        early = Camera("demo://")
        early.launch()
        wait_for(lambda: early.stats.captured > 0, 30)
        # Half a second of the clip passes elsewhere.
        begun = played.stats.delivered
        read_until(played, lambda: played.stats.captured >= begun + 15)
        with contextlib.closing(early):
            assert early.stats.captured == 1
            early.start()
            first = early.read(30)
            assert first is not None
            assert first.seq == 0
