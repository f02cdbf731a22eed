"""Which frames are damaged or show nothing."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from stream.camera.faults import FrameJudge
from tests.stream.camera.video.clips import picture

WHOLE = picture(3, (320, 240))


def cut_off(share: float, level: int = 128) -> np.ndarray:
    image = WHOLE.copy()
    image[round(240 * share) :] = level
    return image


def test_a_frame_of_one_colour_is_blank_and_a_dark_one_is_not() -> None:
    judge = FrameJudge()
    assert judge.step(np.zeros((240, 320, 3), np.uint8), False) == "blank"
    assert judge.step(np.full((240, 320, 3), (0, 0, 255), np.uint8), False) == "blank"
    night = np.random.default_rng(0).integers(0, 9, (240, 320, 3)).astype(np.uint8)
    assert judge.step(night, False) == ""


@pytest.mark.parametrize("share", [0.25, 0.5, 0.75])
def test_a_frame_whose_rest_is_filled_up_is_damaged_and_the_next_is_not(share: float) -> None:
    judge = FrameJudge()
    assert [judge.step(image, False) for image in (WHOLE, cut_off(share), WHOLE)] == ["", "damaged", ""]


def test_a_bar_that_is_always_there_is_no_damage() -> None:
    judge = FrameJudge()
    assert {judge.step(cut_off(0.8, 16), False) for _ in range(3)} == {""}
    assert judge.step(cut_off(0.3, 16), False) == "damaged"


def test_what_the_decoder_says_counts() -> None:
    assert FrameJudge().step(WHOLE, True) == "damaged"


def test_a_jpeg_that_broke_off_is_seen_in_its_picture() -> None:
    data = cv2.imencode(".jpg", WHOLE)[1].tobytes()
    broken = cv2.imdecode(np.frombuffer(data[: len(data) // 2] + b"\xff\xd9", np.uint8), cv2.IMREAD_COLOR)
    judge = FrameJudge()
    assert judge.step(WHOLE, False) == ""
    assert judge.step(np.asarray(broken, np.uint8), False) == "damaged"
