"""GStreamer pipelines through Debian's own gst-launch-1.0."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import psutil
import pytest

from stream.camera import Camera, CameraError, CameraSettings
from stream.camera.drivers.gstreamer import csi_pipeline
from tests.stream.camera.reading import read_until

needs_gstreamer = pytest.mark.skipif(
    shutil.which("gst-launch-1.0") is None,
    reason="needs GStreamer: apt-get install gstreamer1.0-tools gstreamer1.0-plugins-base",
)
SETTINGS = CameraSettings(backoff_min_ms=20, backoff_max_ms=100)


@needs_gstreamer
@pytest.mark.parametrize(("width", "height"), [(64, 48), (65, 50), (322, 241)])
def test_pixels_whatever_the_row_padding(width: int, height: int) -> None:
    pipeline = f"videotestsrc pattern=red is-live=true ! video/x-raw,width={width},height={height},framerate=50/1"
    with Camera(f"gst://{pipeline}", SETTINGS) as camera:
        frames = read_until(camera, lambda: camera.stats.delivered >= 5)
        assert camera.stats.fps == 50
    for frame in frames:
        assert frame.image.shape == (height, width, 3)
        assert (np.abs(frame.image.astype(int) - [255, 0, 0]) <= 3).all()
        assert frame.t_capture_src == "arrival"
    assert frames[-1].seq - frames[0].seq >= 4


@needs_gstreamer
def test_a_pipeline_that_ends_ends() -> None:
    with Camera("gst://videotestsrc num-buffers=3 is-live=true ! video/x-raw,width=64,height=48", SETTINGS) as camera:
        read_until(camera, lambda: camera.state == "ended")
        assert camera.stats.captured == 3


@needs_gstreamer
@pytest.mark.parametrize(
    ("pipeline", "part"),
    [
        ("nosuchelement location=S3cret", "no element"),
        ("videotestsrc nosuch=1", "no property"),
        ("videotestsrc pattern='red", "quotation"),
    ],
)
def test_a_pipeline_that_can_never_work_is_an_error(pipeline: str, part: str) -> None:
    with pytest.raises(CameraError, match=part) as caught, Camera(f"gst://{pipeline}", SETTINGS) as camera:
        read_until(camera, lambda: False)
    assert "S3cret" not in str(caught.value)


@needs_gstreamer
def test_a_failing_pipeline_is_lost_and_tried_again(tmp_path: Path) -> None:
    missing = tmp_path / "S3cret.y4m"
    with Camera(f"gst://filesrc location={missing} ! decodebin", SETTINGS) as camera:
        read_until(camera, lambda: "failed" in camera.stats.message)
        assert camera.state == "no_camera"
        assert "S3cret" not in camera.stats.message


@needs_gstreamer
def test_a_silent_pipeline_is_stalled_and_nothing_outlives_the_camera() -> None:
    pipeline = "videotestsrc is-live=true ! video/x-raw,width=64,height=48,framerate=30/1"
    settings = replace(SETTINGS, stall_ms=200, read_timeout_ms=700)
    with Camera(f"gst://{pipeline}", settings) as camera:
        read_until(camera, lambda: camera.stats.delivered >= 5)
        (capture,) = psutil.Process().children()
        (launch,) = capture.children()
        launch.suspend()
        read_until(camera, lambda: camera.state == "stalled")
        read_until(camera, lambda: camera.state == "ok")
        left = psutil.Process().children(recursive=True)
        assert launch.pid not in [process.pid for process in left]
        assert len(left) == 2
    gone, alive = psutil.wait_procs(left, timeout=10)
    assert alive == []
    assert len(gone) == 2


def test_csi_uses_what_is_installed() -> None:
    settings = CameraSettings(width=1280, height=720, fps=60)
    jetson = csi_pipeline(1, settings, lambda name: name == "nvarguscamerasrc")
    assert jetson.startswith("nvarguscamerasrc sensor-id=1 ! video/x-raw(memory:NVMM),format=NV12,width=1280")
    assert "framerate=60/1" in jetson
    assert csi_pipeline(0, settings, lambda name: name == "libcamerasrc").startswith("libcamerasrc !")
    with pytest.raises(CameraError, match="libcamerasrc camera-name"):
        csi_pipeline(1, settings, lambda name: name == "libcamerasrc")
    with pytest.raises(CameraError, match="apt-get install"):
        csi_pipeline(0, settings, lambda name: False)


def test_a_missing_gstreamer_names_the_package(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with (
        pytest.raises(CameraError, match="apt-get install gstreamer1.0-tools"),
        Camera("gst://x", SETTINGS) as camera,
    ):
        read_until(camera, lambda: False)
