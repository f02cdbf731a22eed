"""The chain as a whole, with faces and a model that are told what to see and say."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from calibration.apply import Calibration
from engine.backends import Backend, HeadOutput, open_backend
from engine.ring import FeatureRing
from stream.camera.frame import Frame
from stream.camera.pixels import Pixels
from stream.faces import FaceSettings, FacesResult, TrackedFace
from stream.pipeline import Pipeline
from stream.scores.scorer import Scorer
from stream.scores.settings import ScoreSettings, SmoothSettings
from stream.window.clock import FramePeriod, SampleClock
from stream.window.scheduler import Scheduler
from stream.window.windows import FaceWindows

POINTS = np.array([[20, 24], [44, 24], [32, 36], [24, 46], [40, 46]], np.float32)
OTHER, SMILE = "neutral", "happiness"


class OneFace:
    """Sees the same face in every frame."""

    def __init__(self) -> None:
        self._age = -1

    def step(self, image: Pixels, t_ns: int) -> FacesResult:
        self._age += 1
        state: Any = "tracked" if self._age else "new"
        box = (8.0, 8.0, 48.0, 48.0)
        return FacesResult([TrackedFace("ann", state, self._age, box, 0.9, None, POINTS, 1.0, 0.0, 0.0, 48.0, 80.0)])

    def reset(self) -> None:
        self._age = -1

    def change(self, settings: FaceSettings) -> None:
        raise AssertionError(settings)

    def ease(self, pause: float) -> None:
        raise AssertionError(pause)


class CutInOneFrame(OneFace):
    """Takes one frame for a cut, and goes on with the same face or with another one."""

    def __init__(self, at: int, revoked: bool) -> None:
        super().__init__()
        self._at, self._revoked = at, revoked

    def step(self, image: Pixels, t_ns: int) -> FacesResult:
        (face,) = super().step(image, t_ns).faces
        if self._age == self._at:
            return FacesResult([replace(face, state="lost", landmarks=None, points5=None)], cut=True)
        if self._age > self._at and not self._revoked:
            face = replace(face, id="bob", state="new" if self._age == self._at + 1 else "tracked")
        return FacesResult([face], revoked=self._revoked and self._age == self._at + 1)


class SlowestHonest:
    """A model that speaks of a smile only once all of its window smiles: bright crops."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self.name, self.precision, self.device, self.spec = backend.name, "fp32", "cpu", backend.spec
        self.reason, self.degraded = "", False

    def ring(self, faces: int, length: int) -> FeatureRing:
        return self._backend.ring(faces, length)

    def encode(self, crops: NDArray[np.uint8]) -> Any:
        darkest = crops.reshape(len(crops), crops.shape[1], -1).mean(2).min(1)
        return np.repeat(darkest[:, None], self.spec.feature, 1).astype(np.float32)

    def head(self, ring_flat: Any, index: NDArray[np.int32]) -> HeadOutput:
        smiles = np.asarray(ring_flat)[index][..., 0].min(1) > 128
        logits = np.zeros((len(index), len(self.spec.labels)), np.float32)
        logits[smiles, self.spec.labels.index(SMILE)] = 50
        logits[~smiles, self.spec.labels.index(OTHER)] = 50
        return HeadOutput(logits, np.ones((len(index), self.spec.samples), np.float32), None)

    def close(self) -> None:
        self._backend.close()


@pytest.fixture(scope="module", params=["frames", "snippets", "whole"])
def backend(request: pytest.FixtureRequest, small_bundle: Callable[[str], Path]) -> Backend:
    return open_backend(small_bundle(request.param), "onnxruntime", threads=1)


@pytest.mark.parametrize("fps", [30, 12.5])
@pytest.mark.parametrize("smooth", [SmoothSettings(dwell_s=0.5), SmoothSettings(hysteresis=False)])
def test_a_smile_is_labelled_within_the_delay_that_the_blocks_declare(
    backend: Backend, fps: float, smooth: SmoothSettings
) -> None:
    windows = FaceWindows(backend.spec, SlowestHonest(backend), faces=1)
    scorer = Scorer(backend.spec.labels, Calibration(backend.spec.labels), ScoreSettings(calm=smooth))
    pipeline = Pipeline(OneFace(), windows, scorer, Scheduler(None))
    clock = SampleClock(windows.encode_hz)
    assert pipeline.delay_s == clock.delay_s + windows.delay_s + scorer.delay_s + windows.hop_s
    worst_s = 0.0
    for offset in range(0, round(fps), 3):  # the smile begins at many phases of the sample clock
        pipeline.reset()
        begins = round(4 * fps) + offset
        for number in range(round(12 * fps)):
            image = np.full((64, 64, 3), 255 if number >= begins else 0, np.uint8)
            t_ns = round(number * 1e9 / fps)
            (face,) = pipeline.step(Frame(image, number, t_ns, 0, "file", 0)).faces
            if face.label == SMILE:
                worst_s = max(worst_s, (number - begins) / fps)
                break
            assert face.label in (None, OTHER)
        assert face.label == SMILE
    assert windows.delay_s - 1 / windows.encode_hz <= worst_s <= pipeline.delay_s + 1 / fps


@pytest.mark.parametrize("revoked", [True, False])
def test_a_cut_takes_every_window_and_a_revoked_one_takes_none(backend: Backend, revoked: bool) -> None:
    windows = FaceWindows(backend.spec, SlowestHonest(backend), faces=1)
    scorer = Scorer(backend.spec.labels, Calibration(backend.spec.labels), ScoreSettings())
    pipeline = Pipeline(CutInOneFrame(200, revoked), windows, scorer, Scheduler(None))
    image = np.full((64, 64, 3), 255, np.uint8)
    shown = []
    for number in range(203):
        result = pipeline.step(Frame(image, number, round(number * 1e9 / 25), 0, "file", 0))
        shown.append(result.faces[0])
    before, lost, *after = shown[199:]
    assert (before.label, before.ready) == (SMILE, True)
    assert (lost.state, lost.label, lost.ready, lost.probs, lost.window.n) == ("lost", None, False, None, 0)
    for face in after:
        if revoked:
            assert (face.id, face.label, face.ready, face.window.n) == ("ann", SMILE, True, before.window.need)
        else:
            assert (face.id, face.label) == ("bob", None)
            assert face.window.n < before.window.need or before.window.need == 1
    if not revoked:
        assert windows.report("ann").n == 0


def test_the_frame_period_is_the_median_of_what_was_seen() -> None:
    period = FramePeriod()
    assert period.step(0) == 33_333_333
    for i in range(1, 20):
        seen = period.step(i * 40_000_000)
    assert seen == 40_000_000
    assert period.step(19 * 40_000_000 + 5_000_000_000) == 40_000_000
    period.reset()
    assert period.step(10**12) == 33_333_333
