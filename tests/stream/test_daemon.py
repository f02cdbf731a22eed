"""A daemon's whole life without a socket, a thread or a wait: frames and camera reports in, messages out.

Faces are scripted; the pipeline, the windows and the back ends are real, and only a back end's failure is injected.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from engine.backends import Backend, BackendError, Features, HeadOutput
from engine.ring import FeatureRing
from stream.assemble import LoadedModel, build_pipeline, load_model
from stream.camera import CameraSettings, Frame
from stream.camera.pixels import Pixels
from stream.camera.stats import CameraReport
from stream.config import ModelSettings, Settings
from stream.daemon import NOT_CALIBRATED, Daemon
from stream.faces import FaceSettings, FacesResult, TrackedFace
from stream.health.effort import EFFORTS
from stream.health.machine import Machine
from stream.publish.message import Event, Faces, Message, Status
from stream.publish.publisher import PublishCounts
from stream.publish.wire import encode

MS = 1_000_000
START_NS = 1_000 * 1_000 * MS
SAMPLE_MS = 125
LIFE_EVENTS = ("face_new", "face_lost", "camera_lost", "camera_ok")
OK = CameraReport("ok", fps=8.0)
GONE = CameraReport("no_camera", message="/dev/video0 is not there")
MACHINE = Machine(1_700_000_000 * 10**9, {"cpu": 45.5}, 512.0)
POINTS = np.array([[20, 24], [44, 24], [32, 36], [24, 46], [40, 46]], np.float32)


class ScriptedTracker:
    """Sees the faces it is told to see."""

    def __init__(self) -> None:
        self.visible: tuple[str, ...] = ()
        self._ages: dict[str, int] = {}

    def step(self, image: Pixels, t_ns: int) -> FacesResult:
        faces = []
        for name in self.visible:
            age = self._ages[name] = self._ages.get(name, -1) + 1
            faces.append(_face(name, "tracked" if age else "new", age))
        for name in set(self._ages) - set(self.visible):
            faces.append(_face(name, "lost", self._ages.pop(name)))
        return FacesResult(faces)

    def reset(self) -> None:
        self._ages.clear()

    def change(self, settings: FaceSettings) -> None:
        self.settings = settings

    def ease(self, pause: float) -> None:
        self.pause = pause


def _face(name: str, state: Any, age: int) -> TrackedFace:
    points = None if state == "lost" else POINTS
    return TrackedFace(name, state, age, (8.0, 8.0, 48.0, 48.0), 0.9, None, points, 1.0, 0.0, 0.0, 48.0, 80.0)


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


class Senseless(Failing):
    """One whose head answers with NaN."""

    def head(self, ring_flat: Any, index: NDArray[np.int32]) -> HeadOutput:
        said = super().head(ring_flat, index)
        return said._replace(logits=np.full_like(said.logits, np.nan))


class Life:
    """A daemon over one camera; time passes only where a test says so."""

    def __init__(self, model: LoadedModel, status_hz: float = 1.0) -> None:
        self.tracker = ScriptedTracker()
        # Every frame, so that no step runs beside the frames and nothing depends on this machine's speed.
        settings = Settings(camera=CameraSettings(every_frame=True))
        self.logged: list[str] = []
        pipeline = build_pipeline(settings, model, self.tracker)
        self.daemon = Daemon("cam0", model, pipeline, START_NS, status_hz, lambda event, **_: self.logged.append(event))
        self.now_ns, self._frame_id = START_NS, 0
        self.published: list[Message] = []

    def frame(self, *faces: str, camera: CameraReport = OK, after_ms: int = SAMPLE_MS) -> list[Any]:
        """The next frame shows these faces; returns what is published."""
        self.now_ns += after_ms * MS
        self.tracker.visible = faces
        image = np.full((64, 64, 3), self._frame_id % 256, np.uint8)
        frame = Frame(image, self._frame_id, self.now_ns - 4 * MS, 5, "arrival", self.now_ns - 2 * MS)
        self._frame_id += 1
        return self.take(self.daemon.step(frame, self.now_ns, camera))

    def no_frame(self, camera: CameraReport = GONE, after_ms: int = 100) -> list[Any]:
        self.now_ns += after_ms * MS
        return self.take(self.daemon.step(None, self.now_ns, camera))

    def status(self, camera: CameraReport = OK) -> Status:
        status = self.daemon.status(self.now_ns, camera, MACHINE, PublishCounts(published=7, refused=1))
        self.take([status])
        return status

    def take(self, messages: list[Message]) -> list[Message]:
        for message in messages:
            encode(message)  # the schema's rules hold for every one
        self.published += messages
        # What the noise of a random model seems to express is for the tests of the reactions.
        return [each for each in messages if not isinstance(each, Event) or each.event in LIFE_EVENTS]

    def of(self, kind: type[Any]) -> list[Any]:
        return [message for message in self.published if isinstance(message, kind)]


@pytest.fixture(scope="module")
def bundle(small_bundle: Callable[[str], Path]) -> Path:
    return small_bundle("frames")


@pytest.fixture
def model(bundle: Path) -> Iterator[LoadedModel]:
    loaded = load_model(ModelSettings(bundle=bundle, backend="openvino", threads=1))
    yield loaded
    loaded.backend.close()


@pytest.fixture
def life(model: LoadedModel) -> Life:
    return Life(model)


def names(messages: list[Any]) -> list[str]:
    return [message.event if isinstance(message, Event) else type(message).__name__ for message in messages]


def test_a_camera_comes_goes_and_comes_back(life: Life) -> None:
    (first,) = life.no_frame()
    assert (first.valid, first.reason, first.faces, first.rate_hz) == (False, "no_camera", [], 2.0)
    assert names(life.frame("ann")) == ["camera_ok", "face_new", "Faces"]
    for _ in range(15):
        (message,) = life.frame("ann")
    (ann,) = message.faces
    assert (ann.ready, ann.reason, ann.window.n, ann.primary) == (True, "ok", 16, True)
    assert ann.scored_frame_id == message.frame_id == 15
    lost, silent = life.no_frame(CameraReport("stalled"))
    assert lost.event == "camera_lost"
    assert (silent.reason, silent.frame_id, silent.t_capture_ns) == ("stalled", 15, None)
    # Nobody knows what happened meanwhile: the face is new and its window starts anew.
    back = life.frame("ann")
    assert names(back) == ["camera_ok", "face_new", "Faces"]
    # This model scores single samples, so the first one is labelled, and as begun just now.
    (again,) = back[-1].faces
    assert (again.window.n, again.ready, again.onset_ns) == (1, True, back[-1].t_capture_ns)
    last = life.status(CameraReport("ended"))
    assert (last.state, last.frames_total, last.published_total, last.refused_total) == ("ok", 17, 7, 1)
    for kind in (Faces, Event, Status):
        assert [message.seq for message in life.of(kind)] == list(range(len(life.of(kind))))
    assert len({message.session for message in life.published}) == 1


def test_a_second_person_comes_and_leaves(life: Life) -> None:
    life.frame("ann")
    new, message = life.frame("ann", "ben")
    assert (new.event, new.face) == ("face_new", "ben")
    assert [face.id for face in message.faces] == ["ann", "ben"]
    message, lost = life.frame("ann")
    assert (lost.event, lost.face, lost.frame_id) == ("face_lost", "ben", message.frame_id)
    assert [face.state for face in message.faces] == ["tracked", "lost"]


def test_an_absent_camera_is_said_twice_a_second_and_a_lost_one_at_once(life: Life) -> None:
    spoken = [bool(life.no_frame(after_ms=100)) for _ in range(11)]
    assert spoken == [True, False, False, False, False] * 2 + [True]
    life.frame("ann")
    assert names(life.no_frame(after_ms=1)) == ["camera_lost", "Faces"]


def test_a_camera_that_is_only_slow_is_not_lost(life: Life) -> None:
    life.frame("ann")
    assert life.no_frame(OK) == []
    assert names(life.frame("ann")) == ["Faces"]


def test_a_file_that_is_still_opening_is_no_lost_camera(life: Life) -> None:
    opening = CameraReport("no_camera", is_file=True)
    assert [life.no_frame(opening, after_ms=600) for _ in range(4)] == [[]] * 4
    life.frame("ann")
    assert names(life.no_frame(opening)) == ["camera_lost", "Faces"]
    assert life.no_frame(CameraReport("ended", is_file=True), after_ms=1000) == []


def test_a_message_says_how_late_it_is_and_what_the_camera_counts(life: Life) -> None:
    message = life.frame("ann", camera=CameraReport("ok", dropped=3, reconnects=2, fps=29.97))[-1]
    assert (message.dropped_total, message.rate_hz, message.degraded) == (3, 29.97, [])
    assert (message.t_capture_ns, message.t_capture_src) == (life.now_ns - 4 * MS, "arrival")
    late = message.latency_ms
    assert late.capture == 4.0
    assert late.total == round((message.t_publish_ns - message.t_capture_ns) / 1e6, 2)
    assert late.total >= round(late.capture + late.detect + late.infer - 0.02, 2)
    status = life.status(CameraReport("ok", dropped=3, reconnects=2, fps=29.97))
    assert (status.dropped_total, status.reconnects_total, status.declared_hz) == (3, 2, 29.97)
    assert {stage: each.n for stage, each in status.latency_ms.items()} == dict.fromkeys(
        ("capture", "detect", "infer", "total"), 1
    )
    assert (status.temperature_c, status.memory_mb, status.t_publish_unix_ns) == ({"cpu": 45.5}, 512.0, 17 * 10**17)


def test_without_a_declared_rate_the_measured_one_is_said(life: Life) -> None:
    unknown = CameraReport("ok")
    rates = [life.frame(camera=unknown)[-1].rate_hz for _ in range(20)]
    assert rates[:2] == [None, None]
    assert rates[-1] == pytest.approx(8, rel=0.05)


def test_latency_of_a_file_counts_from_its_arrival(life: Life) -> None:
    now_ns = START_NS + 500 * MS
    frame = Frame(np.zeros((64, 64, 3), np.uint8), 0, START_NS, 5, "file", now_ns - 2 * MS)
    message = life.daemon.step(frame, now_ns, OK)[-1]
    assert isinstance(message, Faces)
    assert message.latency_ms.capture == 2.0


def test_health_is_said_once_a_period_and_a_missed_one_is_left_out(model: LoadedModel) -> None:
    life = Life(model, status_hz=10)
    said = []
    # A late start and a stall of half a second: neither is made up for with two statuses at once.
    for after_ms in (330, 1, *[20] * 12, 500, 1, *[20] * 12):
        life.frame(after_ms=after_ms)
        if life.daemon.status_due(life.now_ns):
            assert life.status().rate_hz == 10.0
            said.append((life.now_ns - START_NS) // MS)
    assert said == [330, 431, 531, 1071, 1172, 1272]


def test_the_loop_waits_no_longer_than_until_the_next_message(life: Life) -> None:
    assert life.daemon.wait_s(life.now_ns) == 0.001
    life.status()
    life.no_frame(after_ms=0)
    assert life.daemon.wait_s(life.now_ns) == 0.25
    assert life.daemon.wait_s(life.now_ns + 450 * MS) == pytest.approx(0.05)
    life.frame("ann", after_ms=450)
    # With frames, only the status is waited for.
    assert life.daemon.wait_s(life.now_ns) == 0.25
    assert life.daemon.wait_s(life.now_ns + 540 * MS) == pytest.approx(0.01)


def test_a_hanging_stage_is_named_and_starves_the_watchdog(life: Life) -> None:
    life.frame("ann")
    assert life.daemon.sent(life.now_ns)
    # The camera claims to be well and gives nothing.
    life.no_frame(OK, after_ms=10_500)
    assert not life.daemon.sent(life.now_ns)
    status = life.status()
    assert (status.state, status.stale) == ("degraded", ["pipeline"])
    life.frame("ann")
    assert life.daemon.sent(life.now_ns)


def test_while_the_camera_is_away_the_status_says_why(life: Life) -> None:
    life.no_frame()
    away = life.status(GONE)
    assert (away.state, away.camera, away.note) == ("degraded", "no_camera", "/dev/video0 is not there")
    assert life.status(OK).state == "starting"
    life.frame()
    back = life.status(CameraReport("ok", message="opened again"))
    assert (back.state, back.note) == ("ok", NOT_CALIBRATED)


def test_what_the_camera_says_is_logged_once_until_it_is_lost_anew(life: Life) -> None:
    for _ in range(3):
        life.no_frame()
    assert life.logged == ["camera"]
    life.frame()
    large = CameraReport("ok", message="a frame of 9000x9000 px is too large")
    for _ in range(3):
        life.frame(camera=large)
    assert life.logged == ["camera"] * 2
    life.no_frame()
    life.no_frame()
    assert life.logged == ["camera"] * 3


def test_a_back_end_that_fails_costs_one_frame_and_is_said(model: LoadedModel) -> None:
    model.backend = failing = Failing(model.backend, after=20)
    life = Life(model)
    answers = [life.frame("ann") for _ in range(60)]
    assert [i for i, messages in enumerate(answers) if not messages] == [20]
    faces: list[Faces] = life.of(Faces)
    before, after = faces[:20], faces[20:]
    assert before[-1].faces[0].ready
    assert {m.model.backend for m in before if m.model} == {"openvino"}
    assert {m.model.backend for m in after if m.model} == {"onnxruntime"}
    assert all(m.degraded == ["backend"] for m in after)
    # Features of two back ends never mix: the window starts anew, and so does the label.
    (first,) = after[0].faces
    assert (first.window.n, first.onset_ns) == (1, after[0].t_capture_ns)
    assert after[-1].faces[0].ready
    status = life.status()
    assert (status.state, status.backend_faults_total) == ("degraded", 1)
    assert status.note == "openvino failed (the device is gone); running on onnxruntime"
    assert life.logged == ["backend_failed", "backend_changed"]
    assert failing.closed


def test_a_back_end_whose_scores_are_no_numbers_gives_way_to_the_next(model: LoadedModel) -> None:
    model.backend = Senseless(model.backend, after=1000)
    life = Life(model)
    for _ in range(40):
        life.frame("ann")
    faces: list[Faces] = life.of(Faces)
    assert len(faces) == 39
    assert faces[-1].model is not None
    assert (faces[-1].model.backend, faces[-1].faces[0].ready) == ("onnxruntime", True)
    assert life.status().note == (
        "openvino failed (its scores are not finite numbers; dfer-engine verify says whether the model is whole); "
        "running on onnxruntime"
    )


def test_when_the_last_back_end_fails_the_daemon_ends_with_the_reason(model: LoadedModel) -> None:
    model.backend = Failing(model.backend, after=3)
    model.failed.update({"onnxruntime", "tensorrt", "torch"})
    life = Life(model)
    for _ in range(3):
        life.frame("ann")
    with pytest.raises(BackendError, match="openvino"):
        life.frame("ann")


def test_a_back_end_that_is_second_choice_is_said_from_the_start(model: LoadedModel) -> None:
    model.backend.degraded, model.backend.reason = True, "tensorrt failed: no device"
    life = Life(model)
    assert life.frame("ann")[-1].degraded == ["backend"]
    status = life.status()
    assert (status.state, status.degraded, status.note) == ("degraded", ["backend"], "tensorrt failed: no device")


def test_with_too_little_time_less_is_done_the_primary_face_goes_on_and_it_is_said(life: Life) -> None:
    for _ in range(4):
        life.frame("ann", "ben", "cat")
    life.daemon.ease(EFFORTS[1], False)
    [faces] = life.frame("ann", "ben", "cat")
    assert (faces.degraded, life.status().degraded, life.tracker.pause) == (["scheduler"], ["scheduler"], 2)
    for _ in range(8):
        [faces] = life.frame("ann", "ben", "cat")
        assert {face.score_age_ms for face in faces.faces if face.primary} == {0}
        assert sum(face.score_age_ms == 0 for face in faces.faces) == 2
        assert all(face.score_age_ms <= 2 * SAMPLE_MS for face in faces.faces)
    life.daemon.ease(EFFORTS[3], True)
    ages = []
    for _ in range(8):
        [faces] = life.frame("ann", "ben", "cat")
        ages += [face.score_age_ms for face in faces.faces if face.primary]
    assert set(ages) == {0, SAMPLE_MS}
    assert life.status().degraded == ["thermal"]
    life.daemon.ease(EFFORTS[0], False)
    [faces] = life.frame("ann", "ben", "cat")
    assert (faces.degraded, life.tracker.pause) == ([], 1)
