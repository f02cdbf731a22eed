"""``dfer-stream record``: keep the messages of a source in MCAP files."""

from __future__ import annotations

import argparse
import re
import time
from pathlib import Path

import zmq

from engine.console import Exit
from engine.settings.arguments import seconds
from engine.text import say
from stream.publish import endpoint as endpoints
from stream.publish.wire import boot_id
from stream.recording.folder import Keeping, RecordingFolder
from stream.recording.mcap_file import KINDS, RecordingError
from stream.recording.recorder import Recorder, SingleFile, Trigger
from stream.signals import SignalPolicy, Stopped
from stream.subscribe.arguments import add_keys
from stream.subscribe.connect import connect

_MARK = 1000
_WAIT_MS = 250
# Messages are written ten times a second: waking for each one cost 3.1 % of the daemon's CPU.
_GATHER_S = 0.1
_MOST_AT_ONCE = 500
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([kMGT]?)B?")
_LEAST_BYTES = 1_000_000


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of ``dfer-stream record``."""
    parser.add_argument("out", type=Path, help="FILE.mcap for one file, else a folder of parts (made where missing)")
    parser.add_argument(
        "--endpoint",
        action="append",
        help="where the source publishes (default: this machine's only one); again for `dfer-stream driver` beside it",
    )
    parser.add_argument("--source", default="", help="record this source alone")
    parser.add_argument("--with-frames", action="store_true", help="pictures too, where the source publishes them")
    parser.add_argument("--seconds", type=seconds, help="end after this many seconds")
    parser.add_argument(
        "--quota",
        type=_size,
        metavar="SIZE",
        help="most bytes on the disk, as in 500M or 2G; a folder deletes its oldest parts, a file ends",
    )
    parser.add_argument("--part", type=seconds, default=600.0, metavar="S", help="folder: length of a part, s (600)")
    parser.add_argument("--ring", type=seconds, metavar="S", help="folder: keep only parts of the last S seconds")
    parser.add_argument(
        "--trigger",
        action="append",
        default=[],
        metavar="EVENT",
        help="folder: keep the moment around camera_lost, face_new, … or label=CLASS, apart from the parts; repeatable",
    )
    parser.add_argument("--before", type=seconds, default=30.0, metavar="S", help="a moment begins S before (30)")
    parser.add_argument("--after", type=seconds, default=30.0, metavar="S", help="and ends S after (30)")
    add_keys(parser)


def run(args: argparse.Namespace) -> int:
    """Record until stopped; ``PARTLY`` where messages were lost on the way, nothing came, or a file was full."""
    triggers = tuple(map(Trigger.parse, args.trigger))
    first, *more = [endpoints.parse(text).uri for text in args.endpoint or [endpoints.default_connect(args.source)]]
    kinds = [kind for kind in KINDS if kind != "frames" or args.with_frames]
    topics = [f"{kind}/{args.source} ".encode() if args.source else f"{kind}/".encode() for kind in kinds]
    # Wall time advanced by the monotonic clock: a wall clock that jumps tears nothing.
    offset_ns = time.time_ns() - time.monotonic_ns()
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context(io_threads=1)
    ending = _Ending(args.seconds)
    try:
        out = _out(args, triggers, time.monotonic_ns() + offset_ns)
        recorder = Recorder(out, triggers, _tell, offset_ns, boot_id())
        with (
            SignalPolicy() as signals,
            connect(context, first, topics, args.key, args.server_key, mark=_MARK) as sub,
        ):
            signals.then(ending.stop)
            for endpoint in more:
                sub.connect(endpoint)
            say(f"dfer-stream record: {', '.join((first, *more))} to {args.out}")
            try:
                while not ending.due and not (isinstance(out, SingleFile) and out.full):
                    _turn(sub, recorder, out, offset_ns)
            finally:
                out.close(time.monotonic_ns() + offset_ns)
    except Stopped:
        return Exit.DONE
    finally:
        context.destroy(linger=0)
    return _report(args, recorder, isinstance(out, SingleFile) and out.full)


class _Ending:
    def __init__(self, after_s: float | None) -> None:
        self._until_ns = None if after_s is None else time.monotonic_ns() + int(after_s * 1e9)
        self._stopped = False

    def stop(self) -> None:
        self._stopped = True

    @property
    def due(self) -> bool:
        return self._stopped or (self._until_ns is not None and time.monotonic_ns() >= self._until_ns)


def _out(args: argparse.Namespace, triggers: tuple[Trigger, ...], now_ns: int) -> RecordingFolder | SingleFile:
    if args.out.suffix == ".mcap":
        if triggers or args.ring is not None:
            raise RecordingError("--ring and --trigger keep a folder", "give a folder instead of a file")
        if args.out.exists():
            raise RecordingError(f"{args.out} exists and is not overwritten", "name another file")
        return SingleFile(args.out, now_ns, args.quota)
    ring_s = args.ring if args.ring is not None or not triggers else args.before + args.after
    part_s = args.part if ring_s is None else min(args.part, max(ring_s / 4, 1.0))
    return RecordingFolder(args.out, Keeping(part_s, ring_s, args.quota, args.before, args.after), _tell)


def _turn(sub: zmq.Socket[bytes], recorder: Recorder, out: RecordingFolder | SingleFile, offset_ns: int) -> None:
    """Wait for messages, write those that are there, and let time pass."""
    if sub.poll(_WAIT_MS):
        for _ in range(_MOST_AT_ONCE):
            try:
                frame = sub.recv(zmq.NOBLOCK)
            except zmq.Again:
                break
            recorder.take(frame, time.monotonic_ns())
        time.sleep(_GATHER_S)
    out.tick(time.monotonic_ns() + offset_ns)


def _report(args: argparse.Namespace, recorder: Recorder, full: bool) -> int:
    said = f"{recorder.written} messages in {args.out}"
    if not recorder.written:
        said += "; nothing was heard: does `dfer-stream run` publish there?"
    if recorder.lost:
        said += f"; {recorder.lost} were lost on the way"
    if recorder.skipped:
        said += f"; {recorder.skipped} were no messages of ours"
    if full:
        said += f"; ended at its quota of {args.quota} bytes"
    _tell(said)
    return Exit.DONE if recorder.written and not recorder.lost and not full else Exit.PARTLY


def _tell(line: str) -> None:
    say(f"dfer-stream record: {line}")


def _size(text: str) -> int:
    match = _SIZE.fullmatch(text.strip())
    size = 0 if match is None else int(float(match[1]) * 1000 ** " kMGT".index(match[2] or " "))
    if not _LEAST_BYTES <= size < 1 << 50:
        raise argparse.ArgumentTypeError(f"give a size of at least 1M, as in 500M or 2G, not {text!r}")
    return size
