"""Several cameras over one model: encoded together, each as if it were alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from engine.backends import Backend, BackendError
from stream.assemble import LoadedModel, build_pipeline, build_pipelines, load_model
from stream.camera import CameraSettings, Frame
from stream.camera.pixels import Pixels
from stream.camera.stats import CameraReport
from stream.config import ModelSettings, Settings
from stream.daemon import Daemon
from stream.faces import FacesResult
from stream.loop import encode_together
from stream.pipeline import Pipeline
from stream.publish.message import Face, Faces
from tests.stream.test_daemon import Failing, ScriptedTracker

SOURCES = {"left": "demo://", "middle": "demo://", "right": "demo://"}
SETTINGS = Settings(sources=SOURCES, camera=CameraSettings(every_frame=True))
FRAMES = 40
OK = CameraReport("ok", fps=30)


class Two(ScriptedTracker):
    """Two faces, of which the second comes and goes."""

    def __init__(self, settings: object = None, beside: object = None) -> None:
        del settings, beside
        super().__init__()
        self._seen = 0

    def step(self, image: Pixels, t_ns: int) -> FacesResult:
        self._seen += 1
        self.visible = ("a", "b") if self._seen % 20 < 12 else ("a",)
        return super().step(image, t_ns)


def picture(source: int, number: int) -> Frame:
    noise = np.random.default_rng((source, number)).integers(0, 256, (64, 64, 3), np.uint8)
    # Sources a few ms apart: their samples meet in one call nevertheless.
    return Frame(noise, number, (number + 1) * 33_333_333 + source * 3_000_000, 5, "arrival", 0)


@pytest.fixture(params=["frames", "snippets", "whole"])
def model(request: pytest.FixtureRequest, small_bundle: Callable[[str], Path]) -> Iterator[LoadedModel]:
    loaded = load_model(ModelSettings(bundle=small_bundle(request.param), backend="openvino", threads=1))
    yield loaded
    loaded.backend.close()


@pytest.fixture
def several(model: LoadedModel, monkeypatch: pytest.MonkeyPatch) -> list[Pipeline]:
    monkeypatch.setattr("stream.assemble.FaceTracker", Two)
    return build_pipelines(SETTINGS, model, Two())  # type: ignore[arg-type]


class Counting:
    """Counts the calls of a real back end."""

    def __init__(self, backend: Backend) -> None:
        self._backend, self.units, self.windows = backend, list[int](), list[int]()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._backend, name)

    def encode(self, crops: NDArray[np.uint8]) -> Any:
        self.units.append(len(crops))
        return self._backend.encode(crops)

    def head(self, ring_flat: Any, index: NDArray[np.int32]) -> Any:
        self.windows.append(len(index))
        return self._backend.head(ring_flat, index)


def scores(face: Face) -> NDArray[np.float64]:
    return np.array(list((face.logits or {}).values()))


def test_encoded_together_each_says_what_it_says_alone(
    model: LoadedModel, several: list[Pipeline], monkeypatch: pytest.MonkeyPatch
) -> None:
    counting = Counting(model.backend)
    for pipeline in several:
        monkeypatch.setattr(pipeline._windows, "_backend", counting)
    alone = [build_pipeline(one, model, Two()) for one in SETTINGS.each_source()]
    scored = 0
    for number in range(FRAMES):
        begun = [pipeline.begin(picture(source, number)) for source, pipeline in enumerate(several)]
        encode_together(begun)
        for source, pipeline in enumerate(several):
            ours, theirs = pipeline.finish(begun[source]), alone[source].step(picture(source, number))
            assert (ours.new, ours.lost) == (theirs.new, theirs.lost)
            for a, b in zip(ours.faces, theirs.faces, strict=True):
                assert (a.id, a.ready, a.scored_frame_id, a.window) == (b.id, b.ready, b.scored_frame_id, b.window)
                # Another batch is another order of sums, no more.
                np.testing.assert_allclose(scores(a), scores(b), atol=2e-3)
                scored += a.logits is not None
    assert scored > FRAMES
    # Three cameras of up to two faces: one call where there would have been three.
    assert counting.units
    assert counting.windows
    assert min(counting.units) >= 3
    assert min(counting.windows) >= 3


def test_a_back_end_that_fails_is_changed_for_all_and_each_says_so(
    small_bundle: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    model = load_model(ModelSettings(bundle=small_bundle("frames"), backend="openvino", threads=1))
    try:
        monkeypatch.setattr("stream.assemble.FaceTracker", Two)
        model.backend = Failing(model.backend, after=2)
        pipelines = build_pipelines(SETTINGS, model, Two())  # type: ignore[arg-type]
        logged: list[str] = []
        daemons = [
            Daemon(name, model, pipeline, 0, log=lambda event, **_: logged.append(event))
            for name, pipeline in zip(SOURCES, pipelines, strict=True)
        ]
        published: dict[str, list[Faces]] = {name: [] for name in SOURCES}
        for number in range(FRAMES):
            now_ns = (number + 2) * 33_333_333
            begun = [daemon.begin(picture(source, number), now_ns, OK) for source, daemon in enumerate(daemons)]
            try:
                encode_together([step.frame for step in begun if step.frame is not None])
            except BackendError as error:
                daemons[0].fall_back(error)
            for daemon, step in zip(daemons, begun, strict=True):
                for message in daemon.finish(step, now_ns):
                    if isinstance(message, Faces):
                        published[message.source].append(message)
    finally:
        model.backend.close()
    assert logged == ["backend_failed", "backend_changed"]
    for messages in published.values():
        assert len(messages) == FRAMES
        first, last = messages[0], messages[-1]
        assert first.model is not None
        assert last.model is not None
        assert first.model.backend == "openvino"
        assert (last.model.backend, last.degraded) == ("onnxruntime", ["backend"])
        assert last.faces[0].scored_frame_id is not None
        assert last.faces[0].scored_frame_id > FRAMES // 2
