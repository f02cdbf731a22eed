from __future__ import annotations

import cv2
import numpy as np
import pytest

from stream.camera.frame import Frame
from stream.publish.message import Event, Faces
from stream.publish.wire import encode
from stream.show.overlay import OverlayError, window
from stream.show.overlay.window import OverlayWindow, check_display
from tests.stream.show.overlay.messages import face_body, faces_body, no_camera

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


def test_daemon_feeds_it_and_a_lost_camera_keeps_the_last_picture(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = Screen(monkeypatch, [-1, -1])
    monkeypatch.setattr(window, "_REDRAW_NS", 0)
    shown = OverlayWindow(check=False)
    image = np.full((240, 320, 3), 90, np.uint8)
    for seq, frame in enumerate((Frame(image, 0, 1, 1, "driver", 1), None)):
        message = Faces(
            source="cam0",
            session="s",
            seq=seq,
            frame_id=0,
            dropped_total=0,
            t_publish_ns=seq,
            boot_id="b",
            valid=frame is not None,
            reason="ok" if frame else "stalled",
        )
        assert shown.take(message, encode(message), frame)
    event = Event(source="cam0", session="s", seq=0, boot_id="b", t_publish_ns=1, event="camera_lost")
    assert shown.take(event, encode(event), None)
    assert [picture.shape for picture in screen.shown] == [(240, 320, 3)] * 2
    assert (screen.shown[0][60:] == 90).all()
    assert (screen.shown[1][100:140, 140:180] != 90).any()


def test_frames_faster_than_a_screen_are_not_all_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = Screen(monkeypatch, [])
    monkeypatch.setattr(window, "_REDRAW_NS", 10**15)
    shown = OverlayWindow(check=False)
    message = no_camera()
    for _ in range(5):
        assert shown.take(message, encode(message), None)
    assert len(screen.shown) == 1
