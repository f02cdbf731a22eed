"""``dfer-stream run``: assemble the daemon from settings and run it."""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType

from calibration.apply import CalibrationError
from engine.arguments import count, seconds
from engine.backends import BackendError
from engine.bundle.bundle import BundleError
from engine.settings import SettingsError
from stream.camera.camera import Camera
from stream.camera.frame import CameraError
from stream.config import Settings, add_flags, load_settings
from stream.daemon import Daemon, Limits
from stream.faces import FaceTracker
from stream.faces.nets.models import FaceModelError
from stream.health.notify import Notifier
from stream.model import LoadedModel, load_model
from stream.pipeline import Pipeline
from stream.publish.endpoint import EndpointError
from stream.publish.publisher import Publisher
from stream.scores.scorer import Scorer
from stream.show.overlay import OverlayError
from stream.show.sinks import JsonLines, Log, Pictures, Sink, log_line
from stream.window.scheduler import Scheduler
from stream.window.windows import FaceWindows

REFUSALS = (
    BackendError,
    BundleError,
    CalibrationError,
    CameraError,
    EndpointError,
    FaceModelError,
    OverlayError,
    SettingsError,
)
"""Errors that carry their remedy: one line and exit code 2."""

BUDGET_SHARE = 0.8
"""Share of a sample period that encoding may take before faces take turns."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of ``dfer-stream run``."""
    shown = parser.add_mutually_exclusive_group()
    shown.add_argument(
        "--json",
        nargs="?",
        const="faces",
        choices=("faces", "all"),
        help="print every published faces message as one JSON line; 'all' prints status and events too",
    )
    shown.add_argument("--quiet", action="store_true", help="print nothing but errors")
    parser.add_argument("--show", action="store_true", help="open a window with boxes and bars")
    parser.add_argument("--frames", type=count(), metavar="N", help="stop after this many processed frames")
    parser.add_argument("--seconds", type=seconds, metavar="S", help="stop after this many seconds")
    parser.add_argument(
        "--stats", type=Path, metavar="FILE", help="write the last status message to this file at the end"
    )
    add_flags(parser)


def run(args: argparse.Namespace) -> int:
    """Run until stopped.

    Returns:
        0 after a normal end, 2 where something cannot be used, 130 after Ctrl-C before the start was complete.
    """
    try:
        settings = load_settings(args).settings
        if args.stats is not None and not args.stats.absolute().parent.is_dir():
            raise SettingsError(f"--stats {args.stats}: the folder does not exist: make it, or name another file")
        return _run(settings, args)
    except REFUSALS as error:
        print(f"dfer-stream run: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130


def build_pipeline(settings: Settings, model: LoadedModel, tracker: FaceTracker) -> tuple[Pipeline, FaceWindows]:
    """The chain for one source and model; the windows separately, to give them another back end."""
    spec, stride = model.spec, model.stride
    encode_hz = spec.sample_hz * stride
    windows = FaceWindows(spec, model.backend, settings.faces.max_faces * 2, stride)
    scorer = Scorer(spec.labels, model.calibration, settings.scores)
    # A file played without waiting has no deadline, and its scores must not depend on how fast this machine is.
    budget_ms = None if settings.camera.every_frame else BUDGET_SHARE * 1000 / encode_hz
    scheduler = Scheduler(budget_ms)
    overlap = not settings.camera.every_frame
    return Pipeline(spec, tracker, windows, scorer, scheduler, settings.source.roi, encode_hz, overlap), windows


def warm_up(model: LoadedModel) -> None:
    """Run the model once, so that the first frame does not pay for what happens only once."""
    import numpy as np

    spec = model.spec
    ring = model.backend.ring(1, spec.window)
    size = spec.crop.size_px
    features = model.backend.encode(np.zeros((1, spec.unit, size, size, 3), np.uint8))
    ring.push(0, features[0])
    model.backend.head(ring.flat, ring.index(0, spec.window)[None])


def _run(settings: Settings, args: argparse.Namespace) -> int:
    notifier = Notifier.from_environment()
    # The capture child opens the camera while the model loads.
    camera = Camera(settings.source.uri, settings.camera)
    publisher: Publisher | None = None
    sinks: list[Sink] = []
    try:
        # Bound before the model loads: an endpoint in use is known at once, and subscribers can connect meanwhile.
        publish = settings.publish
        publisher = Publisher(
            settings.source.name, publish.bind, publish.secret_key, publish.allowed_keys, publish.with_frames
        )
        _start_live(camera)
        tracker = FaceTracker(settings.faces)
        model = load_model(settings.model)
        log = _log(args)
        log(
            "model",
            name=model.spec.name,
            backend=model.backend.name,
            precision=model.backend.precision,
            why=model.backend.reason,
        )
        warm_up(model)
        pipeline, windows = build_pipeline(settings, model, tracker)
        log("publishing", endpoint=publisher.endpoint, source=settings.source.name)
        if camera.uri.is_file:
            camera.start()
        sinks = _sinks(args, settings, publisher)
        daemon = Daemon(camera, model, pipeline, windows, publisher, sinks, notifier, publish.status_hz)
    except BaseException:
        for sink in sinks:
            sink.close()
        camera.close()
        if publisher is not None:
            publisher.close()
        raise
    _stop_on_signals(daemon)
    try:
        daemon.run(Limits(args.frames, args.seconds))
    finally:
        daemon.close()
    if args.stats is not None:
        _write_stats(args.stats, daemon)
    return 0


def _start_live(camera: Camera) -> None:
    # A file's time line starts when someone is ready to look at it.
    if not camera.uri.is_file:
        camera.start()


def _log(args: argparse.Namespace) -> Callable[..., None]:
    def silent(event: str, **values: object) -> None:
        del event, values

    return silent if args.quiet or args.json or _interactive() else log_line


def _interactive() -> bool:
    return sys.stdout.isatty() and "INVOCATION_ID" not in os.environ


def _sinks(args: argparse.Namespace, settings: Settings, publisher: Publisher) -> list[Sink]:
    sinks: list[Sink] = []
    if args.json:
        sinks.append(JsonLines(every_kind=args.json == "all"))
    elif "INVOCATION_ID" in os.environ and not sys.stdout.isatty():
        sinks.append(Log())
    elif not args.quiet:
        from stream.show.terminal import FacesTable

        sinks.append(FacesTable(publisher.endpoint))
    if settings.publish.with_frames:
        sinks.append(Pictures(publisher))
    if args.show:
        from stream.show.overlay.window import Window

        sinks.append(Window(f"dferstream {settings.source.name}"))
    return sinks


def _stop_on_signals(daemon: Daemon) -> None:
    def handle(number: int, frame: FrameType | None) -> None:
        del frame
        daemon.stop()
        # A second Ctrl-C means it.
        signal.signal(number, signal.SIG_DFL)

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, handle)


def _write_stats(path: Path, daemon: Daemon) -> None:
    partial = path.with_name(path.name + ".partial")
    partial.write_bytes(json.dumps(daemon.final_stats(), indent=2).encode() + b"\n")
    os.replace(partial, path)
