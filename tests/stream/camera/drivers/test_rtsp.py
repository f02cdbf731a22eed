"""RTSP from a small real server on the loopback: uncompressed RTP video (RFC 4175)."""

from __future__ import annotations

import struct
import time
from collections.abc import Iterator
from itertools import repeat

import numpy as np

from stream.camera import Camera, CameraSettings
from stream.camera.drivers.network import NetworkDriver
from stream.camera.uri import parse_uri
from tests.stream.camera.drivers.rtsp_server import Sent, h264_frames, h264_sdp, rtsp_serving
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


def test_frames_that_the_probe_read_bear_the_times_at_which_they_came() -> None:
    fps, count = 15, 45
    levels = [20 + 4 * number for number in range(count)]
    frames = h264_frames([np.full((96, 128, 3), level, np.uint8) for level in levels], fps, group=12)
    sent_ns: list[int] = []

    def played(_: int) -> Iterator[Sent]:
        for frame in frames:
            yield frame
            # Asked for the next one: this one is on its way.
            sent_ns.append(time.monotonic_ns())

    with rtsp_serving(h264_sdp(fps), played, fps) as server:
        driver = NetworkDriver(parse_uri(server.url()), SETTINGS)
        driver.open()
        try:
            raws = [driver.read() for _ in range(count - 10)]
        finally:
            driver.close()
    stamps = [raw.t_ns for raw in raws]
    assert stamps == sorted(set(stamps))
    numbers = [int(np.abs(np.array(levels) - raw.image.mean()).argmin()) for raw in raws]
    assert numbers == list(range(numbers[0], numbers[0] + len(raws)))
    late_s = [(stamp - sent_ns[number]) / 1e9 for stamp, number in zip(stamps, numbers, strict=True)]
    # Handed over in one burst, the first would seem to be as late as connecting took, and all of one moment.
    assert max(late_s) - np.median(late_s) < 0.5
    assert stamps[10] - stamps[0] > 0.4e9
