"""The daemon's loop over a real file, real tracker and real back ends; only a back end's failure is injected."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from engine.backends import Backend, BackendError, Features, HeadOutput
from engine.ring import FeatureRing
from stream.camera import Camera, CameraSettings
from stream.camera.frame import Frame
from stream.camera.paths import demo_clip_path
from stream.commands.run import build_pipeline
from stream.config import ModelSettings, Settings
from stream.daemon import Daemon, Limits
from stream.faces import FaceTracker
from stream.health.notify import Notifier
from stream.model import LoadedModel, load_model
from stream.publish.message import Event, Faces, Message, Status
from stream.publish.publisher import Publisher


class Memory:
    """A sink that keeps what was published."""

    def __init__(self) -> None:
        self.messages: list[Message] = []

    def take(self, message: Message, body: bytes, frame: Frame | None) -> bool:
        self.messages.append(message)
        return True

    def close(self) -> None:
        return


class Failing:
    """A real back end whose device fails at the n-th encoding."""

    def __init__(self, backend: Backend, after: int) -> None:
        self._backend, self._left = backend, after
        self.name, self.precision, self.device = backend.name, backend.precision, backend.device
        self.spec, self.reason, self.degraded = backend.spec, backend.reason, False
        self.closed = False

    def ring(self, faces: int, length: int) -> FeatureRing:
        return self._backend.ring(faces, length)

    def encode(self, crops: NDArray[np.uint8]) -> Features:
        self._left -= 1
        if self._left < 0:
            raise BackendError("the device is gone")
        return self._backend.encode(crops)

    def head(self, ring_flat: Any, index: NDArray[np.int32]) -> HeadOutput:
        return self._backend.head(ring_flat, index)

    def close(self) -> None:
        self.closed = True
        self._backend.close()


@contextlib.contextmanager
def daemon_over(model: LoadedModel, endpoint: str, sink: Memory) -> Iterator[Daemon]:
    settings = Settings(camera=CameraSettings(every_frame=True))
    camera = Camera(f"file://{demo_clip_path()}", settings.camera)
    pipeline, windows = build_pipeline(settings, model, FaceTracker(settings.faces))
    camera.start()
    daemon = Daemon(camera, model, pipeline, windows, Publisher("cam0", endpoint), [sink], Notifier(), status_hz=10)
    # A socket left open by a failed test would keep the whole suite from ending.
    with contextlib.closing(daemon):
        yield daemon


def of(kind: type[Any], sink: Memory) -> list[Any]:
    return [message for message in sink.messages if isinstance(message, kind)]


@pytest.fixture
def model(small_bundle: Callable[[str], Path]) -> LoadedModel:
    return load_model(ModelSettings(bundle=small_bundle("frames"), backend="openvino", threads=1))


def test_a_back_end_that_fails_costs_one_frame_and_is_said(model: LoadedModel, tmp_path: Path) -> None:
    failing = Failing(model.backend, after=20)
    model.backend = failing
    sink = Memory()
    with daemon_over(model, f"ipc://{tmp_path}/a.ipc", sink) as daemon:
        daemon.run(Limits(frames=200))
    faces: list[Faces] = of(Faces, sink)
    assert len(faces) == 199
    missing = set(range(200)) - {message.frame_id for message in faces}
    assert len(missing) == 1
    frame_id = missing.pop()
    before = [m for m in faces if m.frame_id < frame_id]
    after = [m for m in faces if m.frame_id > frame_id]
    assert before[-1].faces[0].ready
    assert {m.model.backend for m in before if m.model} == {"openvino"}
    assert {m.model.backend for m in after if m.model} == {"onnxruntime"}
    assert all(m.degraded == ["backend"] for m in after)
    # Features of two back ends never mix: the window starts anew and no label is given before it is full.
    assert after[0].faces[0].window.n <= 1
    assert not after[0].faces[0].ready
    assert after[-1].faces[0].ready
    last: Status = of(Status, sink)[-1]
    assert (last.state, last.backend_faults_total) == ("degraded", 1)
    assert last.note is not None
    assert "the device is gone" in last.note
    assert failing.closed


def test_when_the_last_back_end_fails_the_daemon_ends_with_the_reason(model: LoadedModel, tmp_path: Path) -> None:
    model.backend = Failing(model.backend, after=3)
    model.failed.update({"onnxruntime", "tensorrt", "torch"})
    daemons = daemon_over(model, f"ipc://{tmp_path}/b.ipc", Memory())
    with daemons as daemon, pytest.raises(BackendError, match="openvino"):
        daemon.run(Limits(frames=100))


def test_events_follow_from_the_faces(model: LoadedModel, tmp_path: Path) -> None:
    sink = Memory()
    with daemon_over(model, f"ipc://{tmp_path}/c.ipc", sink) as daemon:
        daemon.run(Limits(frames=40))
    events: list[Event] = of(Event, sink)
    assert [event.event for event in events] == ["camera_ok", "face_new"]
    faces: list[Faces] = of(Faces, sink)
    assert events[1].face == faces[0].faces[0].id
    assert [m.seq for m in faces] == list(range(40))
    assert {m.session for m in sink.messages} == {faces[0].session}


def test_a_late_start_is_not_made_up_for_with_two_statuses_at_once(model: LoadedModel, tmp_path: Path) -> None:
    sink = Memory()
    with daemon_over(model, f"ipc://{tmp_path}/late.ipc", sink) as daemon:
        time.sleep(0.3)
        daemon.run(Limits(seconds=0.5))
    # The last one is the one that ends the run.
    *statuses, _ = [status.t_publish_ns for status in of(Status, sink)]
    assert len(statuses) >= 2
    assert min(np.diff(statuses)) >= 50e6
    assert {status.rate_hz for status in of(Status, sink)} == {10.0}
