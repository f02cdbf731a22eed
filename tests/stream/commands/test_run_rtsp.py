"""``dfer-stream run`` before an RTSP camera that plays, changes and goes: real program, real child, H.264 over RTP."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import cv2
import numpy as np

from stream.camera.paths import demo_clip_path
from stream.camera.video import open_video
from tests.stream.camera.drivers.rtsp_server import Image, Sent, h264_frames, h264_sdp, rtsp_serving
from tests.stream.commands.published import Messages, faults, ids, published

FPS, GROUP, GROUPS = 15, 12, 3
HOUR_S = 3600.0


def demo_pictures() -> list[Image]:
    """Every second picture from the demo clip's beginning."""
    reader = open_video(demo_clip_path())
    made = []
    for number in range(2 * GROUP * GROUPS):
        picture = reader.next()
        assert picture is not None
        if number % 2 == 0:
            made.append(np.array(picture.image))
    reader.close()
    return made


class Script:
    """Phases of the camera, each until the messages that came in it say what it is for."""

    def __init__(self, phases: dict[str, Callable[[Messages], bool]]) -> None:
        self._waiting = list(phases.items())
        self._start = 0
        self.said: dict[str, Messages] = {}

    @property
    def phase(self) -> str:
        """The phase that lasts; the last one for ever."""
        return self._waiting[0][0] if self._waiting else list(self.said)[-1]

    def follow(self, messages: Messages) -> bool:
        """Go on to the next phase where that is due; whether all are over."""
        name, over = self._waiting[0]
        self.said[name] = messages[self._start :]
        if over(self.said[name]):
            self._start = len(messages)
            del self._waiting[0]
        return not self._waiting


def shown(messages: Messages, width: int = 640) -> Messages:
    return [m for m in messages if m["valid"] and m["faces"] and m["width"] == width]


def test_a_camera_that_plays_blackens_jumps_grows_freezes_and_goes(
    small_bundle: Callable[[str], Path], tmp_path: Path
) -> None:
    pictures = demo_pictures()
    usual = h264_frames(pictures, FPS, GROUP)
    large = h264_frames([np.asarray(cv2.resize(image, (960, 720)), np.uint8) for image in pictures[:GROUP]], FPS, GROUP)
    black = h264_frames([np.zeros((480, 640, 3), np.uint8)], FPS, GROUP)
    jumped = [Sent(usual[0].payloads, HOUR_S), *usual[1:]]

    def reasons(messages: Messages) -> set[str]:
        return {message["reason"] for message in messages}

    script = Script(
        {
            "plays": lambda said: len(shown(said)) >= 2 * FPS,
            "black": lambda said: sum("blank" in message["degraded"] for message in said) >= 3,
            "an hour later": lambda said: len(shown(said)) >= GROUP * GROUPS,
            "larger": lambda said: len(shown(said, 960)) >= GROUP,
            "frozen": lambda said: "frozen" in reasons(said),
            "as before": lambda said: len(shown(said)) >= FPS,
            "gone": lambda said: "no_camera" in reasons(said),
            "back": lambda said: len(shown(said)) >= FPS,
        }
    )

    def frames(session: int) -> Iterator[Sent]:
        while script.phase in ("plays", "as before", "back"):
            yield from usual
        while script.phase == "black":
            yield from [*usual[:GROUP], *black]
        if script.phase == "an hour later":
            yield from jumped
        while script.phase == "an hour later":
            yield from usual
        while script.phase == "larger":
            yield from large
        # The client leaves a picture that never changes; nothing new before it comes again.
        while session == 0:
            yield usual[0]

    with ExitStack() as stack:
        server = stack.enter_context(rtsp_serving(h264_sdp(FPS), frames, FPS))

        def until(messages: Messages) -> bool:
            before = script.phase
            over = script.follow(messages)
            if script.phase != before == "as before":
                server.stop()
            elif script.phase != before == "gone":
                stack.enter_context(rtsp_serving(h264_sdp(FPS), frames, FPS, port=server.port))
            return over

        # A still scene in H.264 has to last ten times as long as frozen-ms says.
        flags = ("--camera.frozen-ms", "200", "--camera.restart-ms", "2000")
        published(server.url(), small_bundle("frames"), tmp_path, until, flags)

    said = script.said
    whole = [message for messages in said.values() for message in messages]
    assert faults(whole) <= {"blank", "scheduler"}
    # One face, whatever the stamps: the time of a frame is that of its arrival.
    first = [m for name in ("plays", "black", "an hour later") for m in said[name] if m["valid"]]
    seen = first[next(index for index, message in enumerate(first) if message["faces"]) :]
    assert ids(seen) == {"f1"}
    for before, message in itertools.pairwise(seen):
        assert 0 < message["t_capture_ns"] - before["t_capture_ns"] < HOUR_S / 10 * 1e9
        assert len(message["faces"]) == 1
        if "blank" in message["degraded"]:
            assert [message["faces"][0][key] for key in ("label", "probs")] == [
                before["faces"][0][key] for key in ("label", "probs")
            ]
    # The second SPS: each message says the size of its own frame, and its faces are new ones.
    sizes = {(m["width"], m["height"]) for m in whole if m["valid"]}
    assert sizes == {(640, 480), (960, 720)}
    for before, after in itertools.pairwise(m for m in whole if m["valid"]):
        if before["width"] != after["width"]:
            assert not ids([before]) & {face["id"] for face in after["faces"] if face["state"] != "lost"}
    for name, reason in (("frozen", "frozen"), ("gone", "no_camera")):
        about = [m for m in said[name] if m["reason"] == reason]
        assert about
        assert not any(m["valid"] or m["faces"] for m in about)
    # Seconds without a picture: another face, for all the daemon knows; it is the only one.
    assert not ids(shown(said["as before"])) & ids(first)
    assert all(len(m["faces"]) == 1 for m in shown(said["back"])[-5:])
