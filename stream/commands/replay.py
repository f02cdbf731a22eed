"""``dfer-stream replay``: publish a recording again, or print it, byte for byte as it was."""

from __future__ import annotations

import argparse
import contextlib
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from engine.console import Exit
from engine.text import printable_json, say
from stream.publish.publisher import Publisher
from stream.recording.mcap_file import RecordingError
from stream.recording.reading import McapReader, Recorded
from stream.recording.replay import schedule
from stream.signals import SignalPolicy, Stopped

_SLICE_S = 0.05
_FASTEST = 100.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of ``dfer-stream replay``."""
    parser.add_argument("recording", type=Path, nargs="+", help="MCAP files, one after the other, or a folder of parts")
    parser.add_argument("--bind", help="where to publish (default: as the daemon of the recording's source would)")
    parser.add_argument("--speed", type=_speed, default=1.0, help="times real time, up to 100 (default: %(default)g)")
    parser.add_argument("--step", action="store_true", help="wait for Enter before each faces message")
    parser.add_argument("--wait", action="store_true", help="begin when the first subscriber has come")
    parser.add_argument("--loop", action="store_true", help="begin again at the end")
    parser.add_argument(
        "--json", action="store_true", help="publish nothing; print every faces message at once, a JSON line each"
    )


def run(args: argparse.Namespace) -> int:
    """Replay; ``PARTLY`` where a recording was cut or damaged."""
    readers = _Readers(_files(args.recording))
    if args.json:
        for message in readers:
            if message.kind == "faces":
                print(printable_json(message.body))
        return readers.end()
    first = next(iter(McapReader(readers.paths[0])), None)
    if first is None:
        raise RecordingError(f"{readers.paths[0]} holds no message", "nothing of it can be replayed")
    with (
        contextlib.suppress(Stopped, KeyboardInterrupt),
        SignalPolicy(),
        Publisher(first.source, args.bind, with_frames=True) as publisher,
    ):
        say(f"dfer-stream replay: publishing on {publisher.endpoint}")
        while args.wait and not publisher.counts.subscriptions:
            _pause(publisher, _SLICE_S)
        while True:
            _play(publisher, readers, args.speed, args.step)
            if not args.loop:
                break
    return readers.end()


class _Readers:
    """Several recordings as one."""

    def __init__(self, paths: list[Path]) -> None:
        self.paths = paths
        self._cuts: dict[Path, str] = {}

    def __iter__(self) -> Iterator[Recorded]:
        for path in self.paths:
            reader = McapReader(path)
            yield from reader
            if reader.cut is not None:
                self._cuts[path] = reader.cut

    def end(self) -> int:
        """Say what was cut."""
        for cut in self._cuts.values():
            say(f"dfer-stream replay: {cut}")
        return Exit.PARTLY if self._cuts else Exit.DONE


def _files(paths: list[Path]) -> list[Path]:
    found: list[Path] = []
    for path in paths:
        inside = sorted(path.glob("part-*.mcap")) if path.is_dir() else [path]
        if not inside:
            raise RecordingError(f"{path} holds no part-*.mcap", "name the files")
        found += inside
    return found


def _play(publisher: Publisher, readers: _Readers, speed: float, step: bool) -> None:
    begun_ns = time.monotonic_ns()
    for due in schedule(readers, speed):
        if step:
            if due.message.kind == "faces" and not sys.stdin.readline():
                return
        else:
            while (left_s := (begun_ns + due.after_ns - time.monotonic_ns()) / 1e9) > 0:
                _pause(publisher, min(left_s, _SLICE_S))
        publisher.forward(due.message.frame)


def _pause(publisher: Publisher, pause_s: float) -> None:
    publisher.serve()
    time.sleep(pause_s)


def _speed(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value <= _FASTEST:
        raise argparse.ArgumentTypeError(f"give a number above 0 and at most {_FASTEST:g}, not {text!r}")
    return value
