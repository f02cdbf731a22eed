"""RTSP from a small real server on the loopback: uncompressed RTP video (RFC 4175)."""

from __future__ import annotations

import struct
import time
from collections.abc import Iterator
from itertools import count

import numpy as np
import pytest

from stream.camera import Camera, CameraSettings
from stream.camera.driver import SourceLost
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


def red(_: int) -> Iterator[Sent]:
    """One RTP packet per frame: a header per line, then the lines as U Y V Y, of BT.601's red.

    A sensor's pictures are never quite equal: one that stood still would be a frozen camera.
    """
    for number in count():
        row = bytes((90, 80 + number % 3, 240, 81)) * (WIDTH // 2)
        lines = b"".join(struct.pack(">HHH", len(row), n, 0x8000 if n < HEIGHT - 1 else 0) for n in range(HEIGHT))
        yield Sent([struct.pack(">H", 0) + lines + row * HEIGHT])


def test_rtsp_with_credentials_and_a_server_that_comes_back() -> None:
    with (
        rtsp_serving(SDP, red, FPS, PASSWORD) as server,
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
        with rtsp_serving(SDP, red, FPS, PASSWORD, server.port):
            read_until(camera, lambda: camera.state == "ok")
            assert (camera.stats.reconnects, camera.stats.restarts) == (1, 0)


def test_a_wrong_password_is_refused_and_not_printed() -> None:
    with (
        rtsp_serving(SDP, red, FPS, PASSWORD) as server,
        Camera(server.url("user:S3cret@"), SETTINGS) as camera,
    ):
        read_until(camera, lambda: "credentials" in camera.stats.message)
        assert camera.state == "no_camera"
        assert "S3cret" not in camera.stats.message
        assert server.sessions == 0


def test_the_first_frame_is_one_that_has_just_come() -> None:
    fps, count = 15, 60
    levels = [20 + 3 * number for number in range(count)]
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
            raws = [driver.read() for _ in range(12)]
        finally:
            driver.close()
    assert not any(raw.damaged for raw in raws)
    numbers = [int(np.abs(np.array(levels) - raw.image.mean()).argmin()) for raw in raws]
    # It took connecting this long to look at the stream; what came meanwhile is decoded and left out.
    assert numbers == list(range(numbers[0], numbers[0] + len(raws)))
    assert numbers[0] > 2
    late_s = [(raw.t_ns - sent_ns[number]) / 1e9 for raw, number in zip(raws, numbers, strict=True)]
    assert late_s[0] - np.median(late_s) < 0.5


def test_of_a_stream_that_is_over_at_once_the_newest_frame_is_shown() -> None:
    frames = h264_frames([np.full((96, 128, 3), level, np.uint8) for level in (40, 80, 120)], 15, group=12)
    with rtsp_serving(h264_sdp(15), lambda _: frames, 15) as server:
        driver = NetworkDriver(parse_uri(server.url()), SETTINGS)
        driver.open()
        try:
            assert driver.read().image.mean() == pytest.approx(120, abs=4)
            for _ in range(2):
                with pytest.raises(SourceLost):
                    driver.read()
        finally:
            driver.close()
