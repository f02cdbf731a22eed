"""RTSP from a small real server on the loopback: uncompressed RTP video (RFC 4175)."""

from __future__ import annotations

import struct
from itertools import repeat

from stream.camera import Camera, CameraSettings
from tests.stream.camera.drivers.rtsp_server import Sent, rtsp_serving
from tests.stream.camera.reading import read_until

WIDTH, HEIGHT, FPS = 64, 48, 50
SDP = (
    "v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\ns=camera\r\nc=IN IP4 0.0.0.0\r\nt=0 0\r\nm=video 0 RTP/AVP 96\r\n"
    f"a=rtpmap:96 raw/90000\r\na=framerate:{FPS}\r\n"
    f"a=fmtp:96 sampling=YCbCr-4:2:2; width={WIDTH}; height={HEIGHT}; depth=8\r\na=control:track0\r\n"
)
PASSWORD = "p@:/%ss"
SETTINGS = CameraSettings(backoff_min_ms=20, backoff_max_ms=100, read_timeout_ms=1000)


def red() -> Sent:
    """One RTP packet per frame: a header per line, then the lines as U Y V Y, of BT.601's red."""
    row = bytes((90, 81, 240, 81)) * (WIDTH // 2)
    lines = b"".join(struct.pack(">HHH", len(row), n, 0x8000 if n < HEIGHT - 1 else 0) for n in range(HEIGHT))
    return Sent([struct.pack(">H", 0) + lines + row * HEIGHT])


def test_rtsp_with_credentials_and_a_server_that_comes_back() -> None:
    with (
        rtsp_serving(SDP, lambda _: repeat(red()), FPS, PASSWORD) as server,
        # '@', ':' and '%' as a user pastes them; only '/' has to be an escape.
        Camera(server.url("user:p@:%2F%ss@"), SETTINGS) as camera,
    ):
        frames = read_until(camera, lambda: camera.stats.delivered >= 5)
        assert frames[-1].image.shape == (HEIGHT, WIDTH, 3)
        r, g, b = (int(v) for v in frames[-1].image[20, 20])
        assert r > 200
        assert max(g, b) < 40
        server.stop()
        read_until(camera, lambda: camera.state == "no_camera")
        with rtsp_serving(SDP, lambda _: repeat(red()), FPS, PASSWORD, server.port):
            read_until(camera, lambda: camera.state == "ok")
            assert (camera.stats.reconnects, camera.stats.restarts) == (1, 0)


def test_a_wrong_password_is_refused_and_not_printed() -> None:
    with (
        rtsp_serving(SDP, lambda _: repeat(red()), FPS, PASSWORD) as server,
        Camera(server.url("user:S3cret@"), SETTINGS) as camera,
    ):
        read_until(camera, lambda: "credentials" in camera.stats.message)
        assert camera.state == "no_camera"
        assert "S3cret" not in camera.stats.message
        assert server.sessions == 0
