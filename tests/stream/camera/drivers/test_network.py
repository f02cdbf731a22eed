"""Network cameras: a real MJPEG server on loopback."""

from __future__ import annotations

import base64
import http.server
import socket
import threading
from collections.abc import Iterator
from dataclasses import replace

import cv2
import numpy as np
import pytest

from stream.camera import Camera, CameraSettings
from tests.stream.camera.reading import read_until

SETTINGS = CameraSettings(backoff_min_ms=20, backoff_max_ms=100, read_timeout_ms=1000)


class MjpegServer(http.server.ThreadingHTTPServer):
    """Streams frames whose grey level counts up; can fall silent or hang up."""

    daemon_threads = True
    block_on_close = False

    def __init__(self, port: int = 0) -> None:
        super().__init__(("127.0.0.1", port), _Stream)
        self.password = "p@:/%ss"
        self.silent = threading.Event()
        self.gone = threading.Event()
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def stop(self) -> None:
        self.gone.set()
        self.shutdown()
        self.server_close()


class _Stream(http.server.BaseHTTPRequestHandler):
    server: MjpegServer

    def do_GET(self) -> None:
        wanted = base64.b64encode(f"user:{self.server.password}".encode()).decode()
        if self.headers.get("Authorization") != f"Basic {wanted}":
            self.send_response(401)
            self.send_header("WWW-Authenticate", 'Basic realm="camera"')
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        self.send_response(200)
        self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=frame")
        self.end_headers()
        count = 0
        while not self.server.gone.wait(1 / 50):
            if self.server.silent.is_set():
                continue
            picture = np.full((48, 64, 3), (0, 0, count % 200 + 50), np.uint8)
            data = cv2.imencode(".jpg", picture)[1].tobytes()
            try:
                self.wfile.write(
                    b"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n" % len(data) + data + b"\r\n"
                )
            except OSError:
                return
            count += 1

    def log_message(self, *_: object) -> None:
        return


@pytest.fixture
def server() -> Iterator[MjpegServer]:
    made = MjpegServer()
    yield made
    made.stop()


def uri(server: MjpegServer) -> str:
    return f"http://user:p%40%3A%2F%25ss@127.0.0.1:{server.server_port}/video"


def test_mjpeg_with_credentials(server: MjpegServer) -> None:
    with Camera(uri(server), SETTINGS) as camera:
        frames = read_until(camera, lambda: camera.stats.delivered >= 10)
        assert frames[-1].image.shape == (48, 64, 3)
        red, green, blue = (int(v) for v in frames[-1].image[24, 32])
        assert red > 40
        assert max(green, blue) < 30
        assert {f.t_capture_src for f in frames} == {"arrival"}
        assert "p@" not in repr(camera.uri) + camera.stats.message


def test_a_wrong_password_is_no_camera_and_is_not_printed(server: MjpegServer) -> None:
    with Camera(f"http://user:wrong-S3cret@127.0.0.1:{server.server_port}/video", SETTINGS) as camera:
        read_until(camera, lambda: "credentials" in camera.stats.message)
        assert camera.state == "no_camera"
        assert "S3cret" not in camera.stats.message


def test_silence_is_a_stall_and_frames_resume(server: MjpegServer) -> None:
    with Camera(uri(server), SETTINGS) as camera:
        read_until(camera, lambda: camera.stats.delivered >= 10)
        server.silent.set()
        read_until(camera, lambda: camera.state == "stalled")
        server.silent.clear()
        read_until(camera, lambda: camera.state == "ok")


def test_a_long_silence_is_opened_again(server: MjpegServer) -> None:
    with Camera(uri(server), replace(SETTINGS, read_timeout_ms=600)) as camera:
        read_until(camera, lambda: camera.stats.delivered >= 3)
        server.silent.set()
        read_until(camera, lambda: camera.stats.message != "")
        server.silent.clear()
        read_until(camera, lambda: camera.state == "ok" and camera.stats.reconnects >= 1)


def test_a_server_that_goes_and_comes_back(server: MjpegServer) -> None:
    with Camera(uri(server), SETTINGS) as camera:
        read_until(camera, lambda: camera.stats.delivered >= 3)
        server.stop()
        read_until(camera, lambda: camera.state == "no_camera")
        again = MjpegServer(server.server_port)
        read_until(camera, lambda: camera.state == "ok")
        assert camera.stats.reconnects == 1
        again.stop()


def test_a_host_that_accepts_and_says_nothing_does_not_block(server: MjpegServer) -> None:
    with socket.create_server(("127.0.0.1", 0)) as deaf:
        settings = CameraSettings(open_timeout_ms=500, backoff_min_ms=20, backoff_max_ms=50)
        with Camera(f"http://127.0.0.1:{deaf.getsockname()[1]}/", settings) as camera:
            read_until(camera, lambda: "does not answer" in camera.stats.message)
            assert camera.state == "no_camera"
