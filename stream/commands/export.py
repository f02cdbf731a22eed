"""``dfer-stream export``: a recording as a table, as XDF or as ELAN annotations."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

from engine.console import Exit
from engine.files import replace_file
from engine.text import say
from stream.offline.table import check_format
from stream.recording.export.elan import write_eaf
from stream.recording.export.observations import Observations
from stream.recording.export.tables import write_table
from stream.recording.export.xdf import write_xdf
from stream.recording.mcap_file import RecordingError
from stream.recording.reading import McapReader, Recorded

FORMATS = ("csv", "parquet", "jsonl", "xdf", "eaf")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of ``dfer-stream export``."""
    parser.add_argument("recording", type=Path, help="MCAP file, or a folder of parts")
    parser.add_argument("out", type=Path, help=f"file to make; its suffix says what: {', '.join(FORMATS)}")
    parser.add_argument("--source", default="", help="this source alone")
    parser.add_argument("--media", type=Path, help="eaf: the video that begins with the recording's first frame")


def run(args: argparse.Namespace) -> int:
    """Export; ``PARTLY`` where the recording was cut, or messages of another schema were left out."""
    kind = args.out.suffix[1:]
    if kind not in FORMATS:
        raise RecordingError(f"{args.out}: .{kind} is none of {', '.join(FORMATS)}", "name the file accordingly")
    check_format(kind)
    paths = sorted(args.recording.glob("part-*.mcap")) if args.recording.is_dir() else [args.recording]
    if not paths:
        raise RecordingError(f"{args.recording} holds no part-*.mcap", "name a file")
    readers = [McapReader(path) for path in paths]
    observations = Observations(_all(readers), args.source)
    made = [0]

    def write(temporary: Path) -> None:
        if kind == "xdf":
            made[0] = write_xdf(observations, temporary)
        elif kind == "eaf":
            made[0] = write_eaf(observations, temporary, args.media)
        else:
            made[0] = write_table(observations, temporary, kind)

    replace_file(args.out, write)
    cuts = [reader.cut for reader in readers if reader.cut is not None]
    for cut in cuts:
        say(f"dfer-stream export: {cut}")
    if observations.skipped:
        say(f"dfer-stream export: {observations.skipped} messages of another schema were left out")
    if len(observations.boots) > 1:
        say(f"dfer-stream export: times of {len(observations.boots)} boots are in one file and do not compare")
    what = {"xdf": "samples", "eaf": "annotations"}.get(kind, "rows")
    say(f"dfer-stream export: {made[0]} {what} in {args.out}")
    return Exit.PARTLY if cuts or observations.skipped else Exit.DONE


def _all(readers: list[McapReader]) -> Iterator[Recorded]:
    for reader in readers:
        yield from reader
