"""From settings to a running pipeline: which model, on which back end, in which chain."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path

import numpy as np

from calibration import apply
from calibration.apply import Calibration
from engine.backends import Backend, BackendError, first_choice, open_artefact, open_backend
from engine.bundle import Artefact, Bundle, BundleError, EngineDirectory
from engine.settings import SettingsError
from engine.spec import ModelSpec
from stream.config import ModelSettings, Settings
from stream.faces import FaceTracker
from stream.pipeline import Pipeline, Tracker
from stream.publish.message import Model
from stream.scores.scorer import Scorer
from stream.window.scheduler import Scheduler
from stream.window.shared_ring import RingShare, SharedRing
from stream.window.windows import FaceWindows

DEFAULT_BUNDLE = Path(__file__).parent / "default_model"
"""The bundle that comes with the program."""
BUDGET_SHARE = 0.8
"""Share of a sample period that encoding may take before faces take turns."""


@dataclass
class LoadedModel:
    """An open model.

    Attributes:
        artefact: The bundle or engine directory, every hash verified.
        backend: What runs it now.
        calibration: How its logits become probabilities.
        settings: What was asked for.
        failed: Back ends that failed in mid-run.
        pipelines: What runs on it: one a source.
    """

    artefact: Artefact
    backend: Backend
    calibration: Calibration
    settings: ModelSettings
    failed: set[str] = field(default_factory=set)
    pipelines: list[Pipeline] = field(default_factory=list)

    @property
    def spec(self) -> ModelSpec:
        """The model's spec."""
        return self.artefact.spec

    @property
    def stride(self) -> int:
        """The k of ``encode_hz = k * sample_hz``."""
        return encode_stride(self.settings.encode_hz, self.spec)

    def identity(self) -> Model:
        """What the messages say of it."""
        return Model(
            name=self.spec.name,
            sha256=self.artefact.sha256,
            precision=self.backend.precision,
            backend=self.backend.name,
            labels=self.spec.labels,
            calibration=self.calibration.name,
        )

    def fall_back(self) -> Backend:
        """Open the next back end after this one failed, and go on with it in every pipeline.

        Raises:
            BackendError: If none is left.
        """
        self.failed.add(self.backend.name)
        failed = self.backend
        for pipeline in self.pipelines:
            pipeline.close()
        try:
            self.backend = _open(self.artefact, self.settings, self.failed)
        except BackendError:
            # A built engine runs on its own back end only; the bundle it was built from runs on the others.
            bundle = self._bundle()
            if bundle is None:
                raise
            self.artefact = bundle
            self.backend = open_backend(bundle, "auto", self.settings.threads, None, self.failed)
        failed.close()
        for pipeline in self.pipelines:
            pipeline.replace_backend(self.backend)
        return self.backend

    def _bundle(self) -> Bundle | None:
        """The bundle that this engine directory was built from, where it is at hand."""
        if not isinstance(self.artefact, EngineDirectory):
            return None
        try:
            bundle = Bundle.open(self.settings.bundle or DEFAULT_BUNDLE)
        except BundleError:
            return None
        return bundle if bundle.sha256 == self.artefact.sha256 else None


def load_model(settings: ModelSettings) -> LoadedModel:
    """Open the engine directory or bundle the settings name, the default bundle where they name none.

    Raises:
        BundleError: If a file of it is missing, altered or of a newer format.
        BackendError: If nothing here can run it.
        CalibrationError: If its calibration is not for it.
        SettingsError: If ``encode_hz`` does not fit the model.
    """
    artefact = open_artefact(settings.engine or settings.bundle or DEFAULT_BUNDLE)
    encode_stride(settings.encode_hz, artefact.spec)
    calibration = apply.load(artefact.calibration(), artefact.spec.labels)
    return LoadedModel(artefact, _open(artefact, settings, ()), calibration, settings)


def encode_stride(encode_hz: float | None, spec: ModelSpec) -> int:
    """How many samples are taken per tick of the model's own rate.

    Raises:
        SettingsError: If it is no whole multiple, or the model's units hold more than one frame.
    """
    if encode_hz is None:
        return 1
    ratio = Fraction(encode_hz).limit_denominator(1000) / Fraction(spec.sample_hz).limit_denominator(1000)
    if ratio.denominator != 1 or ratio < 1:
        raise SettingsError(
            f"model.encode_hz must be a whole multiple of the model's {spec.sample_hz:g} Hz, not {encode_hz:g}"
        )
    if ratio > 1 and (spec.unit > 1 or spec.window == 1):
        raise SettingsError(
            f"model.encode_hz: {spec.name} encodes units of {spec.unit} frames, at its own {spec.sample_hz:g} Hz only"
        )
    return int(ratio)


def build_pipeline(settings: Settings, model: LoadedModel, tracker: Tracker) -> Pipeline:
    """The chain for one source and model.

    Args:
        settings: Of this machine.
        model: Open.
        tracker: Finds and follows this source's faces.
    """
    return _build(settings, model, tracker, None, None)


def build_pipelines(settings: Settings, model: LoadedModel, tracker: FaceTracker) -> list[Pipeline]:
    """The chains of all sources, in order: one model and one set of nets, and whatever is remembered for each alone.

    Args:
        settings: Of this machine.
        model: Open.
        tracker: Of the first source; the others use its nets.
    """
    each = settings.each_source()
    if len(each) == 1:
        return [build_pipeline(each[0], model, tracker)]
    slots = settings.faces.max_faces * 2
    ring = SharedRing(model.backend, slots * len(each), model.stride * model.spec.window)
    trackers = [tracker, *(FaceTracker(settings.faces, tracker) for _ in each[1:])]
    # Cameras that tick together are encoded together; what a file says must not depend on when it was begun.
    return [
        _build(
            one,
            model,
            trackers[index],
            RingShare(ring, range(index * slots, (index + 1) * slots)),
            None if one.camera.every_frame else 0,
        )
        for index, one in enumerate(each)
    ]


def _build(
    settings: Settings, model: LoadedModel, tracker: Tracker, share: RingShare | None, anchor_ns: int | None
) -> Pipeline:
    windows = FaceWindows(model.spec, model.backend, settings.faces.max_faces * 2, model.stride, share)
    scorer = build_scorer(settings, model)
    # A file played without waiting has no deadline, and its scores must not depend on how fast this machine is.
    live = not settings.camera.every_frame
    scheduler = Scheduler(BUDGET_SHARE * 1000 / windows.encode_hz if live else None)
    pipeline = Pipeline(tracker, windows, scorer, scheduler, settings.source.roi, live, anchor_ns)
    model.pipelines.append(pipeline)
    return pipeline


def build_scorer(settings: Settings, model: LoadedModel) -> Scorer:
    """What calibrates, smooths and labels the faces of one source."""
    return Scorer(model.spec.labels, model.calibration, settings.scores, model.spec.has_now)


def warm_up(model: LoadedModel) -> None:
    """Run the model once, so that the first frame does not pay for what happens only once."""
    spec = model.spec
    ring = model.backend.ring(1, spec.window)
    size = spec.crop.size_px
    features = model.backend.encode(np.zeros((1, spec.unit, size, size, 3), np.uint8))
    ring.push(0, features[0])
    model.backend.head(ring.flat, ring.index(0, spec.window)[None])


def _open(artefact: Artefact, settings: ModelSettings, exclude: Collection[str]) -> Backend:
    # A named back end that failed is not tried again: what is left is chosen by `auto`.
    name = "auto" if exclude else settings.backend
    precision = settings.precision
    if precision is None and isinstance(artefact, Bundle) and first_choice(name, exclude) == "openvino":
        from engine.build.proven import proven_precision

        precision = proven_precision(artefact)
    return open_backend(artefact, name, settings.threads, precision, exclude)
