"""``dfer-stream run`` over an hour without a picture, of a camera and in a file: real program, real child."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Iterator
from itertools import cycle
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from stream.camera.paths import demo_clip_path
from stream.camera.video import open_video
from tests.stream.camera.drivers.mjpeg_server import serving
from tests.stream.camera.video.clips import FPS, Kind, write_frames
from tests.stream.commands.published import ROOT, Messages, faults, ids, published

HOUR_S = 3600
CLOCK = """
import os, time
real = time.monotonic_ns
time.monotonic_ns = lambda: real() + {ahead_ns} * os.path.exists({flag!r})
"""
"""Every process of the run finds that an hour has passed as soon as the file is there."""


@pytest.fixture(scope="module")
def pictures() -> list[NDArray[np.uint8]]:
    """Two seconds of the demo clip."""
    reader = open_video(demo_clip_path())
    made = []
    for _ in range(60):
        picture = reader.next()
        assert picture is not None
        made.append(np.array(picture.image))
    reader.close()
    return made


def check(messages: Messages) -> None:
    """One face before and another after, and nothing of what the one showed is said of the other."""
    valid = [message for message in messages if message["valid"]]
    times = [message["t_capture_ns"] for message in valid]
    after = next(k for k in range(1, len(times)) if times[k] - times[k - 1] > 0.99 * HOUR_S * 1e9)
    assert all(0 < b - a < 60e9 for k, (a, b) in enumerate(itertools.pairwise(times), 1) if k != after)
    assert ids(valid[:after]) == {"f1"}
    assert valid[after - 1]["faces"][0]["window"]["n"] > 1
    states = [(face["id"], face["state"]) for face in valid[after]["faces"]]
    assert ("f2", "new") in states
    assert states in ([("f2", "new")], [("f2", "new"), ("f1", "lost")])
    new = next(face for face in valid[after]["faces"] if face["id"] == "f2")
    assert new["window"]["n"] <= 1
    assert {face["id"] for message in valid[after + 1 :] for face in message["faces"]} == {"f2"}
    assert faults(valid) <= {"scheduler"}


def test_a_camera_that_was_silent_for_an_hour(
    pictures: list[NDArray[np.uint8]], small_bundle: Callable[[str], Path], tmp_path: Path
) -> None:
    jpegs = [cv2.imencode(".jpg", image[..., ::-1])[1].tobytes() for image in pictures]
    flag, resumed, silent = tmp_path / "later", threading.Event(), threading.Event()
    (tmp_path / "sitecustomize.py").write_text(CLOCK.format(ahead_ns=HOUR_S * 10**9, flag=str(flag)))

    def parts(_: int) -> Iterator[bytes]:
        for data in cycle(jpegs):
            if silent.is_set() and not resumed.wait(60):
                return
            yield data

    def until(messages: Messages) -> bool:
        if not silent.is_set() and sum(bool(m["faces"]) for m in messages) >= 40:
            silent.set()
        elif silent.is_set() and not resumed.is_set() and messages[-1]["reason"] in ("stalled", "no_camera"):
            flag.touch()
            resumed.set()
        return resumed.is_set() and sum(m["valid"] and m["t_capture_ns"] > 0 for m in messages[-30:]) == 30

    with serving(parts) as server:
        paths = {"PYTHONPATH": f"{tmp_path}:{ROOT}"}
        flags = ("--seconds", str(3 * HOUR_S))
        messages = published(server.url(), small_bundle("frames"), tmp_path, until, flags, paths)
    assert any(m["reason"] in ("stalled", "no_camera") and not m["valid"] for m in messages)
    check(messages)


def test_a_file_with_an_hour_between_two_pictures(
    pictures: list[NDArray[np.uint8]], small_bundle: Callable[[str], Path], tmp_path: Path
) -> None:
    times = [k if k < 40 else k + HOUR_S * FPS for k in range(60)]
    clip = write_frames(tmp_path / "clip.mkv", Kind("mpeg4", "matroska", size=(640, 480)), pictures, times)
    messages = published(
        clip.as_uri(),
        small_bundle("frames"),
        tmp_path,
        lambda said: sum(message["valid"] for message in said) == len(pictures),
        ("--every-frame",),
    )
    check(messages)
