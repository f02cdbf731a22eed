"""``dfer-stream run``: assemble the daemon from settings and run it."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from engine.console import Exit
from engine.settings import SettingsError
from engine.settings.arguments import count, seconds
from stream.config import Settings, add_flags, load_settings

# Everything else is imported where it is run: help and a wrong flag are answered without NumPy and a model runtime.
if TYPE_CHECKING:
    from stream.loop import Loop
    from stream.publish.message import Status
    from stream.publish.publisher import Publisher
    from stream.show.sinks import Sink


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
        "--stats",
        type=Path,
        metavar="FILE",
        help="write the last status message to this file at the end (of several sources, a list of them)",
    )
    add_flags(parser)


def run(args: argparse.Namespace) -> int:
    """Run until stopped, until the source ended or until a limit."""
    settings = load_settings(args, several=True).settings
    if args.show and len(settings.each_source()) > 1:
        raise SettingsError("--show: a window shows one source", "look at several with `dfer-stream view`")
    if args.stats is not None and not args.stats.absolute().parent.is_dir():
        raise SettingsError(f"--stats {args.stats}: the folder does not exist", "make it, or name another file")
    from stream.loop import Limits
    from stream.signals import SignalPolicy, Stopped

    with contextlib.suppress(Stopped), SignalPolicy() as signals:
        with contextlib.ExitStack() as stack:
            loop = _loop(settings, args, stack)
            named = args.config or os.environ.get("DFER_CONFIG")
            signals.then(loop.stop, loop.ask_reload if named else None)
            last = loop.run(Limits(args.frames, args.seconds))
        if args.stats is not None:
            _write_stats(args.stats, last)
    return Exit.DONE


def _loop(settings: Settings, args: argparse.Namespace, stack: contextlib.ExitStack) -> Loop:
    """Open everything the loop needs; `stack` closes it."""
    from concurrent.futures import ThreadPoolExecutor

    from engine.heap import one_arena
    from stream.assemble import build_pipelines, load_model, warm_up
    from stream.camera.camera import Camera
    from stream.daemon import Daemon
    from stream.faces import FaceTracker
    from stream.health.notify import Notifier
    from stream.loop import Loop, Source
    from stream.publish.limits import SubscriberLimits
    from stream.publish.publisher import Publisher
    from stream.publish.source import SourcePublisher
    from stream.reload import Reloader, Target
    from stream.show.outputs import Outputs
    from stream.show.sinks import JpegFrames, log_line

    one_arena()
    notifier = Notifier.from_environment()
    stack.callback(notifier.close)
    each, publish = settings.each_source(), settings.publish
    # The capture children open the cameras while the model loads.
    cameras = [Camera(one.source.uri, one.camera) for one in each]
    for camera in cameras:
        stack.callback(camera.close)
    # Bound before the model loads: an endpoint in use is known at once, and subscribers can connect meanwhile.
    publisher = stack.enter_context(
        Publisher(
            settings.source.name,
            publish.bind,
            publish.secret_key,
            publish.allowed_keys,
            publish.with_frames,
            SubscriberLimits(publish.max_subscribers, publish.max_topics),
        )
    )
    for camera in cameras:
        camera.launch()
    # The nets beside the model. That one stays with this thread: a GPU's context belongs to the one that made it.
    with ThreadPoolExecutor(1, "load") as beside:
        tracker_loading = beside.submit(FaceTracker, settings.faces)
        model = load_model(settings.model)
        stack.callback(lambda: model.backend.close())
        tracker = tracker_loading.result()
    log, backend = _log(args), model.backend
    log(
        "model",
        name=model.spec.name,
        backend=backend.name,
        precision=backend.precision,
        calibration=model.calibration.name or "none, its scores are no probabilities",
        why=backend.reason,
    )
    warm_up(model)
    pipelines = build_pipelines(settings, model, tracker)
    for pipeline in pipelines:
        stack.callback(pipeline.close)
    for one, camera in zip(each, cameras, strict=True):
        log("publishing", endpoint=publisher.endpoint, source=one.source.name)
        camera.start()
    shared = _sinks(args, settings, publisher)
    for sink in shared:
        stack.callback(sink.close)
    sources, targets = list[Source](), list[Target]()
    for one, camera, pipeline in zip(each, cameras, pipelines, strict=True):
        topics = SourcePublisher(publisher, one.source.name)
        daemon = Daemon(one.source.name, model, pipeline, time.monotonic_ns(), publish.status_hz)
        pictures = JpegFrames(topics, publish.frames_width, publish.frames_hz) if publish.with_frames else None
        sinks = [*shared, pictures] if pictures is not None else shared
        sources.append(Source(camera, daemon, Outputs(topics, sinks)))
        targets.append(Target(daemon, pictures))
    reloader = Reloader(settings, lambda: load_settings(args, several=True).settings, targets, log_line)
    return Loop(sources, notifier, reloader.reload)


def _log(args: argparse.Namespace) -> Callable[..., None]:
    def silent(event: str, **values: object) -> None:
        del event, values

    from stream.show.sinks import log_line

    return silent if args.quiet or args.json or _interactive() else log_line


def _interactive() -> bool:
    return sys.stdout.isatty() and "INVOCATION_ID" not in os.environ


def _sinks(args: argparse.Namespace, settings: Settings, publisher: Publisher) -> list[Sink]:
    from stream.show.sinks import JsonLines, Log

    sinks: list[Sink] = []
    if args.json:
        sinks.append(JsonLines(every_kind=args.json == "all"))
    elif "INVOCATION_ID" in os.environ and not sys.stdout.isatty():
        sinks.append(Log())
    elif not args.quiet:
        from stream.show.terminal import FacesTable

        sinks.append(FacesTable(publisher.endpoint))
    if args.show:
        from stream.show.overlay.window import OverlayWindow

        sinks.append(OverlayWindow(f"dferstream {settings.source.name}"))
    return sinks


def _write_stats(path: Path, last: list[Status]) -> None:
    import msgspec

    from engine.files import write_text

    # Of one source, what it always was; of several, a list in their order.
    held = msgspec.to_builtins(last[0] if len(last) == 1 else last)
    write_text(path, json.dumps(held, indent=2) + "\n")
