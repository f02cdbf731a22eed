from __future__ import annotations

import cv2
import numpy as np
import pytest

from stream.overlay import OverlayError, window
from stream.overlay.window import OverlayWindow, check_display
from tests.stream.overlay_messages import face_body, faces_body

HEADLESS = "\n  GUI:                           NONE\n"
QT = "\n  GUI:                           QT5\n"


class Screen:
    """OpenCV's window calls, at the seam to the window system."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, keys: list[int]) -> None:
        self.shown: list[np.ndarray] = []
        self.closed = 0
        self.visible = 1.0
        monkeypatch.setattr(cv2, "namedWindow", lambda *_: None)
        monkeypatch.setattr(cv2, "resizeWindow", lambda *_: None)
        monkeypatch.setattr(cv2, "getWindowProperty", lambda *_: self.visible)
        monkeypatch.setattr(cv2, "imshow", lambda _, picture: self.shown.append(picture))
        monkeypatch.setattr(cv2, "waitKey", lambda _: keys.pop(0) if keys else -1)
        monkeypatch.setattr(cv2, "destroyWindow", lambda _: self.close())

    def close(self) -> None:
        self.closed += 1


def test_no_display_gives_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cv2, "getBuildInformation", lambda: QT)
    monkeypatch.setattr("sys.platform", "linux")
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    with pytest.raises(OverlayError, match="no display.*leave out --show"):
        OverlayWindow()


def test_headless_opencv_gives_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cv2, "getBuildInformation", lambda: HEADLESS)
    with pytest.raises(OverlayError, match="install opencv-python instead"):
        check_display()


def test_display_that_refuses_does_not_end_the_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.platform", "linux")
    monkeypatch.setattr(
        window, "_PROBE", "import sys, os; print('could not connect to display', file=sys.stderr); os.abort()"
    )
    monkeypatch.setattr(cv2, "getBuildInformation", lambda: QT)
    monkeypatch.setenv("DISPLAY", ":4242")
    with pytest.raises(OverlayError, match="could not connect to display"):
        check_display()


@pytest.mark.parametrize("key", [ord("q"), 27])
def test_key_ends_it(monkeypatch: pytest.MonkeyPatch, key: int) -> None:
    screen = Screen(monkeypatch, [-1, ord("x"), key])
    image = np.zeros((240, 320, 3), np.uint8)
    with OverlayWindow(check=False) as shown:
        answers = [shown.show(image, faces_body([face_body(box=(60, 60, 80, 90))], k)) for k in range(3)]
    assert answers == [True, True, False]
    assert len(screen.shown) == 3
    assert screen.closed == 1
    # OpenCV shows BGR: happiness is yellow, so its blue channel is the dark one.
    yellow = screen.shown[0].reshape(-1, 3)[screen.shown[0].reshape(-1, 3)[:, 1] > 220]
    assert (yellow[:, 0] < yellow[:, 2]).any()


def test_closed_window_ends_it(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = Screen(monkeypatch, [])
    image = np.zeros((240, 320, 3), np.uint8)
    with OverlayWindow(check=False) as shown:
        assert shown.show(image, faces_body([]))
        screen.visible = 0.0
        assert not shown.show(image, faces_body([]))


def test_failing_window_system_is_an_error_of_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise cv2.error("The function is not implemented")

    Screen(monkeypatch, [])
    monkeypatch.setattr(cv2, "namedWindow", refuse)
    with pytest.raises(OverlayError, match="leave out --show"):
        OverlayWindow(check=False).show(np.zeros((240, 320, 3), np.uint8), faces_body([]))
