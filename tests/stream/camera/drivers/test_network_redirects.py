"""Redirects of a network camera: its own host is followed, no other is ever connected to."""

from __future__ import annotations

from itertools import repeat

import pytest

from stream.camera import Camera, CameraSettings
from tests.stream.camera.drivers.mjpeg_server import jpeg, serving
from tests.stream.camera.reading import read_until

# One still picture again and again: a frozen camera, but for this.
SETTINGS = CameraSettings(backoff_min_ms=20, backoff_max_ms=100, read_timeout_ms=1000, frozen_ms=0)
PICTURE = jpeg(64, 48)


@pytest.mark.parametrize("way", ["{other}/video", "//{other_host}/video", "http://user:S3cret@{other_host}/video"])
@pytest.mark.parametrize("through", ["at once", "after a redirect of its own"])
def test_another_host_is_never_connected_to(way: str, through: str) -> None:
    with (
        serving(lambda _: repeat(PICTURE), host="127.0.0.2") as other,
        serving(lambda _: repeat(PICTURE)) as server,
    ):
        there = way.format(other=other.url(""), other_host=f"127.0.0.2:{other.server_port}")
        server.redirects = {"/start": there if through == "at once" else "/next", "/next": there}
        with Camera(server.url("/start"), SETTINGS) as camera:
            frames = read_until(camera, lambda: "redirects to 127.0.0.2" in camera.stats.message)
            assert "which was not configured" in camera.stats.message
            assert "S3cret" not in camera.stats.message
            assert frames == []
            assert camera.state == "no_camera"
        assert other.asked == []


@pytest.mark.parametrize("location", ["/video", "video?token=1", "{own}/video", "/next"])
def test_a_redirect_within_the_host_is_followed(location: str) -> None:
    with serving(lambda _: repeat(PICTURE), redirects={"/next": "/video?last=1"}) as server:
        server.redirects["/start"] = location.format(own=server.url(""))
        with Camera(server.url("/start"), SETTINGS) as camera:
            frames = read_until(camera, lambda: camera.stats.delivered >= 5)
            assert frames[-1].image.shape == (48, 64, 3)
            assert camera.state == "ok"


def test_a_redirect_without_end_is_said() -> None:
    circle = {"/a": "/b", "/b": "/a"}
    with serving(lambda _: repeat(PICTURE), circle) as server, Camera(server.url("/a"), SETTINGS) as camera:
        read_until(camera, lambda: "redirects without end" in camera.stats.message)


def test_a_redirect_within_the_host_keeps_the_credentials() -> None:
    with serving(lambda _: repeat(PICTURE), {"/start": "/video"}) as server:
        server.credentials = "user:p@:/%ss"
        host = f"127.0.0.1:{server.server_port}"
        with Camera(f"http://user:p%40%3A%2F%25ss@{host}/start", SETTINGS) as camera:
            read_until(camera, lambda: camera.stats.delivered >= 3)
        with Camera(f"http://user:wrong-S3cret@{host}/start", SETTINGS) as camera:
            read_until(camera, lambda: "credentials" in camera.stats.message)
            assert "S3cret" not in camera.stats.message


def test_a_playlist_of_another_host_is_no_camera() -> None:
    with serving(lambda _: repeat(PICTURE), host="127.0.0.2") as other, serving(lambda _: []) as server:
        server.text = f"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n{other.url('/video.ts')}\n"
        with Camera(server.url("/live.m3u8"), SETTINGS) as camera:
            read_until(camera, lambda: "does not answer with a video stream" in camera.stats.message)
        assert other.asked == []


def test_a_camera_that_plays_is_asked_once() -> None:
    with serving(lambda _: repeat(PICTURE)) as server, Camera(server.url(), SETTINGS) as camera:
        read_until(camera, lambda: camera.stats.delivered >= 3)
        assert server.asked == ["/video"]


def test_a_redirect_that_comes_with_a_reconnect_is_refused_too() -> None:
    with (
        serving(lambda _: repeat(PICTURE), host="127.0.0.2") as other,
        serving(lambda _: [PICTURE] * 5) as server,
        Camera(server.url(), SETTINGS) as camera,
    ):
        read_until(camera, lambda: camera.stats.delivered >= 1)
        server.redirects["/video"] = other.url()
        read_until(camera, lambda: "redirects to 127.0.0.2" in camera.stats.message)
        assert other.asked == []
