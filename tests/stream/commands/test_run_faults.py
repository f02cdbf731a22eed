"""``dfer-stream run`` before a misbehaving network camera: real program, real child, a server on the loopback."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from itertools import chain, cycle, repeat
from pathlib import Path

import cv2
import numpy as np
import pytest

from stream.camera.paths import demo_clip_path
from stream.camera.video import open_video
from tests.stream.camera.drivers.mjpeg_server import serving
from tests.stream.commands.published import Messages, faults, ids, published

Parts = Iterator[bytes]


@pytest.fixture(scope="module")
def faces() -> list[bytes]:
    """A second of the demo clip, as a camera's JPEGs."""
    reader = open_video(demo_clip_path())
    made = []
    for _ in range(60):
        picture = reader.next()
        assert picture is not None
        made.append(cv2.imencode(".jpg", picture.image[..., ::-1])[1].tobytes())
    reader.close()
    return made


def resized(data: bytes, width: int, height: int) -> bytes:
    image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    assert image is not None
    return cv2.imencode(".jpg", cv2.resize(image, (width, height)))[1].tobytes()


def run(parts: Callable[[int], Parts], bundle: Path, folder: Path, until: Callable[[Messages], bool]) -> Messages:
    """Messages of a run before an HTTP camera, until they say what is waited for."""
    with serving(parts) as server:
        return published(server.url(), bundle, folder, until)


def test_damaged_and_blank_frames_are_told_and_cost_no_face(
    faces: list[bytes], small_bundle: Callable[[str], Path], tmp_path: Path
) -> None:
    black = cv2.imencode(".jpg", np.zeros((480, 640, 3), np.uint8))[1].tobytes()

    def parts(_: int) -> Parts:
        for number, data in enumerate(cycle(faces)):
            yield data[: len(data) // 2] if number % 12 == 5 else black if number % 12 == 10 else data

    def until(messages: Messages) -> bool:
        return {"damaged", "blank"} <= faults(messages) and len(messages) >= 60

    messages = [m for m in run(parts, small_bundle("frames"), tmp_path, until) if m["valid"]]
    assert faults(messages) <= {"damaged", "blank", "scheduler"}
    seen = next(index for index, message in enumerate(messages) if message["faces"])
    assert ids(messages) == {"f1"}
    # Over a fault the face stays, with the scores it had.
    for before, message in zip(messages[seen:], messages[seen + 1 :], strict=False):
        assert len(message["faces"]) == 1
        if {"damaged", "blank"} & set(message["degraded"]):
            face, earlier = message["faces"][0], before["faces"][0]
            assert (face["label"], face["probs"], face["box"]) == (earlier["label"], earlier["probs"], earlier["box"])


def test_a_size_that_changes_and_a_frame_over_the_limit(
    faces: list[bytes], small_bundle: Callable[[str], Path], tmp_path: Path
) -> None:
    large = [resized(data, 960, 720) for data in faces[:30]]
    too_large = cv2.imencode(".jpg", np.zeros((9000, 9000), np.uint8))[1].tobytes()

    def parts(_: int) -> Parts:
        return cycle(chain(faces, faces, [too_large], large, large))

    def until(messages: Messages) -> bool:
        return {m["width"] for m in messages if m["faces"]} == {640, 960} and messages[-1]["dropped_total"] > 0

    messages = [m for m in run(parts, small_bundle("frames"), tmp_path, until) if m["valid"]]
    assert {(m["width"], m["height"]) for m in messages} == {(640, 480), (960, 720)}
    # Other pixels, other faces: tracks begin anew, each within its own picture.
    for before, after in itertools.pairwise(messages):
        if before["width"] != after["width"]:
            assert not ids([before]) & {face["id"] for face in after["faces"] if face["state"] != "lost"}
    for message in messages:
        for face in message["faces"]:
            x, y, w, h = face["box"]
            assert -w < x < message["width"]
            assert -h < y < message["height"]


def test_a_frozen_network_camera_says_so(
    faces: list[bytes], small_bundle: Callable[[str], Path], tmp_path: Path
) -> None:
    def parts(number: int) -> Parts:
        return chain(faces[:20], repeat(faces[20])) if number == 0 else cycle(faces)

    def until(messages: Messages) -> bool:
        reasons = [message["reason"] for message in messages]
        return "frozen" in reasons and "ok" in reasons[reasons.index("frozen") :]

    messages = run(parts, small_bundle("frames"), tmp_path, until)
    assert not any(m["valid"] for m in messages if m["reason"] == "frozen")
