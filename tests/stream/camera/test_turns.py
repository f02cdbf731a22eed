"""Whose turn it is among several cameras: scripted cameras behind real descriptors."""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Iterator
from typing import Any, cast

import numpy as np
import pytest

from stream.camera.camera import Camera
from stream.camera.frame import CameraError, Frame
from stream.camera.turns import CameraTurns

FAR_NS = 2**62


class Scripted:
    """Has a new frame whenever it is rung, and keeps the newest alone."""

    def __init__(self) -> None:
        self.bell = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self.check_again_ns = FAR_NS
        self.error: CameraError | None = None
        self.looks = 0

    def ring(self) -> None:
        os.eventfd_write(self.bell, 1)

    def descriptors(self) -> tuple[int, ...]:
        return (self.bell,)

    def read(self, timeout_s: float) -> Frame | None:
        assert timeout_s == 0
        self.looks += 1
        if self.error is not None:
            raise self.error
        try:
            os.eventfd_read(self.bell)
        except BlockingIOError:
            return None
        return Frame(np.zeros((2, 2, 3), np.uint8), 0, 0, 0, "arrival", 0)


@pytest.fixture
def cameras() -> Iterator[list[Scripted]]:
    made = [Scripted() for _ in range(3)]
    yield made
    for camera in made:
        os.close(camera.bell)


def turns_of(cameras: list[Scripted]) -> CameraTurns:
    return CameraTurns(cast("list[Camera]", cameras))


def test_the_one_read_longest_ago_comes_first(cameras: list[Scripted]) -> None:
    turns, order = turns_of(cameras), list[Any]()
    for rung in ((0, 1, 2), (2, 0), (1,), (0, 1, 2)):
        for index in rung:
            cameras[index].ring()
        turns.wait(10)
        order.append([cameras.index(cast(Any, reading.camera)) for reading in turns.read() if reading.frame])
    assert order == [[0, 1, 2], [0, 2], [1], [0, 2, 1]]


def test_a_camera_that_is_fast_takes_no_turn_from_another(cameras: list[Scripted]) -> None:
    turns, served = turns_of(cameras), Counter[int]()
    for round_ in range(300):
        cameras[0].ring()  # new frames all the time
        cameras[1].ring()
        if round_ % 3 == 0:
            cameras[2].ring()
        turns.wait(10)
        # There is time for one frame a round alone.
        first = next(iter(turns.read()))
        served[cameras.index(cast(Any, first.camera))] += 1
    assert served == {0: 100, 1: 100, 2: 100}


def test_nobody_is_looked_at_without_a_reason(cameras: list[Scripted]) -> None:
    turns = turns_of(cameras)
    cameras[1].ring()
    turns.wait(10)
    list(turns.read())
    assert [camera.looks for camera in cameras] == [0, 1, 0]
    cameras[2].check_again_ns = time.monotonic_ns()
    turns.wait(10)  # its time has come: this does not wait for a frame
    assert [reading.frame for reading in turns.read()] == [None]
    assert [camera.looks for camera in cameras] == [0, 1, 1]


def test_one_that_can_never_work_takes_no_further_turn(cameras: list[Scripted]) -> None:
    turns = turns_of(cameras)
    cameras[0].error = CameraError("no such thing")
    for camera in cameras:
        camera.ring()
    turns.wait(10)
    first, *others = list(turns.read())
    assert (first.frame, first.error) == (None, cameras[0].error)
    assert all(reading.frame is not None for reading in others)
    turns.wait(0)
    assert list(turns.read()) == []
