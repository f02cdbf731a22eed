from __future__ import annotations

import psutil
import pytest

from stream.camera.capture.process import CaptureProcess
from stream.camera.capture.protocol import Resume
from stream.camera.paths import demo_clip_path
from stream.camera.settings import CameraSettings


def test_no_setting_is_in_the_environment_of_the_capture_process(monkeypatch: pytest.MonkeyPatch) -> None:
    # A process's environment can be read by every process of its user, and by what the drivers start.
    monkeypatch.setenv("DFER_SOURCE_URI", "rtsp://user:s3cr3tpw@127.0.0.1:1/x")
    monkeypatch.setenv("DFER_PUBLISH_SECRET_KEY", "/etc/key")
    monkeypatch.setenv("LD_LIBRARY_PATH_OF_A_DRIVER", "/opt/camera")
    process = CaptureProcess(f"file://{demo_clip_path()}", CameraSettings(), 0, Resume())
    try:
        child = psutil.Process(process.pid).environ()
    finally:
        process.kill()
    assert not [name for name in child if name.startswith("DFER_")]
    assert "s3cr3tpw" not in str(child)
    assert child["LD_LIBRARY_PATH_OF_A_DRIVER"] == "/opt/camera"
