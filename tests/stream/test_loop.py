"""The loop over a real file, a real tracker, a real model and real sockets; what it decides is in test_daemon.py."""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from stream.assemble import build_pipeline, load_model
from stream.camera import Camera, CameraSettings, Frame
from stream.camera.paths import demo_clip_path
from stream.config import ModelSettings, Settings
from stream.daemon import Daemon
from stream.faces import FaceTracker
from stream.health.notify import Notifier
from stream.loop import Limits, Loop, Source
from stream.publish.message import Event, Faces, Message, Status
from stream.publish.publisher import Publisher
from stream.show.outputs import Outputs
from stream.subscribe.client import Client


class Memory:
    """A sink that keeps what was published, and asks for the next one or not."""

    def __init__(self, wants_more: Callable[[int], bool] = lambda taken: True) -> None:
        self.messages: list[Message] = []
        self.frames: list[Frame | None] = []
        self._wants_more = wants_more

    def take(self, message: Message, body: bytes, frame: Frame | None) -> bool:
        self.messages.append(message)
        self.frames.append(frame)
        return self._wants_more(len(self.messages))

    def close(self) -> None:
        return


@contextlib.contextmanager
def loop_over(bundle: Path, endpoint: str, sinks: list[Memory], notifier: Notifier | None = None) -> Iterator[Loop]:
    settings = Settings(camera=CameraSettings(every_frame=True))
    # What a failed test left open would keep the whole suite from ending.
    with contextlib.ExitStack() as stack:
        camera = stack.enter_context(Camera(f"file://{demo_clip_path()}", settings.camera))
        publisher = stack.enter_context(Publisher("cam0", endpoint))
        model = load_model(ModelSettings(bundle=bundle, backend="openvino", threads=1))
        stack.callback(lambda: model.backend.close())
        pipeline = build_pipeline(settings, model, FaceTracker(settings.faces))
        stack.callback(pipeline.close)
        daemon = Daemon("cam0", model, pipeline, time.monotonic_ns(), status_hz=10)
        yield Loop([Source(camera, daemon, Outputs(publisher, sinks))], notifier or Notifier())


def test_what_is_decided_reaches_subscribers_sinks_and_the_service_manager(
    small_bundle: Callable[[str], Path], tmp_path: Path
) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        notifier = Notifier(str(tmp_path / "notify"), watchdog_us=2)
        endpoint, sink = f"ipc://{tmp_path}/a.ipc", Memory()
        with (
            loop_over(small_bundle("frames"), endpoint, [sink], notifier) as loop,
            Client(endpoint, "status") as client,
        ):
            [last] = loop.run(Limits(frames=40))
            heard = client.receive(20)
        notifier.close()
        said = [manager.recv(256) for _ in range(3)]
    assert said == [b"READY=1\nSTATUS=publishing on " + endpoint.encode(), b"WATCHDOG=1", b"WATCHDOG=1"]
    events = [message.event for message in sink.messages if isinstance(message, Event)]
    # What the noise of a random model seems to express comes after these.
    assert events[:2] == ["camera_ok", "face_new"]
    faces = [message for message in sink.messages if isinstance(message, Faces)]
    assert [message.frame_id for message in faces] == list(range(40))
    # Pictures go with the message that speaks of them, and with no other.
    shown = [(message, frame) for message, frame in zip(sink.messages, sink.frames, strict=True) if frame is not None]
    assert [message for message, _ in shown] == faces
    assert [frame.seq for _, frame in shown] == list(range(40))
    assert sink.messages[-1] is last
    assert (last.frames_total, last.state) == (40, "ok")
    assert isinstance(heard, Status)
    assert heard.session == last.session


def test_a_viewer_who_has_seen_enough_ends_it_and_every_other_still_gets_the_message(
    small_bundle: Callable[[str], Path], tmp_path: Path
) -> None:
    sinks = [Memory(lambda taken: taken < 5), Memory()]
    with loop_over(small_bundle("frames"), f"ipc://{tmp_path}/b.ipc", sinks) as loop:
        [last] = loop.run(Limits(seconds=60))
    assert last.frames_total < 10
    assert sinks[0].messages == sinks[1].messages


def test_a_stop_asked_for_while_a_message_is_sent_is_not_lost(
    small_bundle: Callable[[str], Path], tmp_path: Path
) -> None:
    def interrupted(taken: int) -> bool:
        if taken == 5:  # as a signal's handler does, at any moment
            loop.stop()
        return True

    with loop_over(small_bundle("frames"), f"ipc://{tmp_path}/c.ipc", [Memory(interrupted)]) as loop:
        assert loop.run(Limits(seconds=60))[0].frames_total < 10
