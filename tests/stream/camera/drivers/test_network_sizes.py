"""Frames of other sizes from a network camera: each keeps its own, and one over the limit is one more lost frame."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain, cycle, repeat

import numpy as np
import pytest

from stream.camera import Camera, CameraSettings, Frame
from tests.stream.camera.drivers.mjpeg_server import jpeg, serving
from tests.stream.camera.reading import read_until

# One still picture again and again: a frozen camera, but for this.
SETTINGS = CameraSettings(backoff_min_ms=20, backoff_max_ms=100, read_timeout_ms=1000, frozen_ms=0)
SIZES = ((64, 48), (160, 90), (32, 60), (64, 48))
USUAL = jpeg(64, 48)
TOO_LARGE = jpeg(9000, 9000)


def size(frame: Frame) -> tuple[int, int]:
    return frame.image.shape[1], frame.image.shape[0]


def red_share(frame: Frame) -> float:
    """The share of the middle row that is red: a quarter, unless the picture is cut or padded."""
    row = frame.image[frame.image.shape[0] // 2].astype(int)
    return float(np.mean(row[:, 0] - row[:, 1] > 60))


def test_every_frame_has_its_own_size_and_its_whole_picture() -> None:
    pictures = [jpeg(*each) for each in SIZES]
    stream = cycle(chain(*(repeat(picture, 10) for picture in pictures)))
    with serving(lambda _: stream) as server, Camera(server.url(), SETTINGS) as camera:
        frames = read_until(camera, lambda: camera.stats.delivered >= 60)
        assert {size(frame) for frame in frames} == set(SIZES)
        assert all(red_share(frame) == pytest.approx(0.25, abs=0.1) for frame in frames)
        assert (camera.stats.reconnects, camera.state) == (0, "ok")
        assert (camera.stats.width, camera.stats.height) == size(frames[-1])


def test_a_size_that_changes_while_the_camera_is_away_is_the_new_one() -> None:
    def parts(number: int) -> Iterator[bytes]:
        return chain(repeat(USUAL, 10)) if number == 0 else repeat(jpeg(160, 90))

    with serving(parts) as server, Camera(server.url(), SETTINGS) as camera:
        frames = read_until(camera, lambda: camera.stats.reconnects >= 1 and camera.stats.width == 160)
        assert {size(frame) for frame in frames} == {(64, 48), (160, 90)}


def test_a_connection_of_nothing_but_frames_over_the_limit_says_so_with_its_end() -> None:
    with (
        serving(lambda number: [TOO_LARGE if number == 1 else USUAL] * 5) as server,
        Camera(server.url(), SETTINGS) as camera,
    ):
        read_until(camera, lambda: "gives no more frames; a frame of 9000x9000 px" in camera.stats.message)
        read_until(camera, lambda: server.connections >= 3)


@pytest.mark.parametrize("where", ["in mid-stream", "first after a reconnect"])
def test_a_frame_over_the_limit_is_one_more_lost_frame(where: str) -> None:
    def parts(number: int) -> Iterator[bytes]:
        if where == "in mid-stream":
            return chain(repeat(USUAL, 10), [TOO_LARGE, TOO_LARGE], repeat(USUAL))
        return iter([USUAL] * 10) if number == 0 else chain([TOO_LARGE, TOO_LARGE], repeat(USUAL))

    with serving(parts) as server, Camera(server.url(), SETTINGS) as camera:
        said: list[str] = []

        def over() -> bool:
            said.append(camera.stats.message)
            return any("9000x9000" in words for words in said) and camera.stats.delivered >= 25

        frames = read_until(camera, over)
        assert {size(frame) for frame in frames} == {(64, 48)}
        assert camera.state == "ok"
        stats = camera.stats
        assert (stats.restarts, stats.reconnects) == (0, int(where != "in mid-stream"))
        # FFMPEG takes a connection's first packet to find the format, so after a reconnect it may never reach us.
        lost = 2 if where == "in mid-stream" else 1
        assert stats.dropped == frames[-1].seq + 1 - len(frames) >= lost


def test_a_camera_of_nothing_but_frames_over_the_limit_is_none_and_says_why() -> None:
    quick = CameraSettings(backoff_min_ms=20, backoff_max_ms=50, open_timeout_ms=1500, restart_ms=1000)
    with serving(lambda _: repeat(TOO_LARGE)) as server, Camera(server.url(), quick) as camera:
        frames = read_until(camera, lambda: camera.stats.restarts >= 1)
        assert frames == []
        assert camera.state == "no_camera"
        assert "9000x9000 px is too large" in camera.stats.message


@pytest.mark.parametrize("broken", [b"", b"\r\n", b"no picture" * 30, jpeg(64, 48)[:60]])
def test_a_part_that_is_no_picture_is_one_lost_frame(broken: bytes) -> None:
    stream = chain(repeat(USUAL, 5), [broken], repeat(USUAL))
    with serving(lambda _: stream) as server, Camera(server.url(), SETTINGS) as camera:
        frames = read_until(camera, lambda: camera.stats.delivered >= 15)
        assert {size(frame) for frame in frames} == {(64, 48)}
        assert (camera.stats.restarts, camera.state) == (0, "ok")


@pytest.mark.parametrize("data", [USUAL[:-2], b"\r\n" + USUAL, USUAL + b"\0\0"])
def test_a_camera_that_is_careless_with_marks_is_read(data: bytes) -> None:
    with serving(lambda _: repeat(data)) as server, Camera(server.url(), SETTINGS) as camera:
        frames = read_until(camera, lambda: camera.stats.delivered >= 5)
        assert {size(frame) for frame in frames} == {(64, 48)}
        assert red_share(frames[-1]) == pytest.approx(0.25, abs=0.1)
