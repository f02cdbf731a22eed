"""What has been scored already: rows and record of an unfinished run, in a folder beside the output.

Rows of an item are appended, then one line of the journal names the item and where its rows end. A run that was killed,
wherever that was, is taken up by cutting the rows back to the end that the last whole line names: no row is lost or
doubled. The output itself appears when everything is done.
"""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO, TypeVar

import msgspec

from stream.offline import ScoreError
from stream.offline.inputs import Item, Problem

VERSION = 1
_T = TypeVar("_T", bound=msgspec.Struct)


class RunHeader(msgspec.Struct, frozen=True):
    """First line of a journal: what the run was asked.

    Attributes:
        version: Of the journal's format.
        fingerprint: Of everything that changes a score: model, settings, kind of input.
    """

    version: int
    fingerprint: str


class ItemRecord(msgspec.Struct, frozen=True):
    """A line of the journal: an item whose rows are all there.

    Attributes:
        key: The item's.
        stamp: The item's when it was scored.
        end: Where its rows end, bytes.
        rows: How many it gave.
        problems: What was wrong with it.
        media_s: Length of video, s.
    """

    key: str
    stamp: str
    end: int
    rows: int
    problems: tuple[Problem, ...] = ()
    media_s: float = 0.0


def work_folder(out: Path) -> Path:
    """Where an unfinished run of this output lies."""
    return out.with_name(out.name + ".unfinished")


class GrowingRows:
    """Copies the rows of one item after the other, line by line, while a worker still writes them.

    Args:
        out: Takes the rows.
    """

    def __init__(self, out: BinaryIO) -> None:
        self._out = out
        self._part: Path | None = None
        self._copied = 0

    def copied(self, part: Path) -> int:
        """How much of a part file was copied, bytes."""
        return self._copied if part == self._part else 0

    def follow(self, part: Path) -> None:
        """Copy what whole lines a part file has got since the last call."""
        self._copied, self._part = self.copied(part), part
        try:
            with part.open("rb") as source:
                source.seek(self._copied)
                while chunk := source.read(1 << 20):
                    whole = chunk[: chunk.rfind(b"\n") + 1]
                    if not whole:
                        break
                    self._out.write(whole)
                    self._copied += len(whole)
                    source.seek(self._copied)
        except FileNotFoundError:
            return
        self._out.flush()


class Journal:
    """The unfinished run of one output. Opening it locks it.

    Args:
        out: The output.
        fingerprint: Of what changes a score.
        items: Everything to do now.
        overwrite: Whether to begin anew.

    Attributes:
        done: What earlier runs have scored, by key.
        commits: Items recorded by this run.

    Raises:
        ScoreError: If another process is at it, or the unfinished run is of other settings, model or files.
    """

    def __init__(self, out: Path, fingerprint: str, items: Sequence[Item], overwrite: bool = False) -> None:
        self.out, self.folder = out, work_folder(out)
        self.rows = self.folder / "rows.jsonl"
        self.done: dict[str, ItemRecord] = {}
        self.commits = 0
        self._journal: BinaryIO | None = None
        self._rows: BinaryIO | None = None
        self._growing: GrowingRows | None = None
        self._end = 0
        try:
            self.folder.mkdir(exist_ok=True)
            self._lock = os.open(self.folder, os.O_RDONLY)
        except OSError as error:
            raise ScoreError(f"{out}: cannot be written: {error.strerror}", "choose another --out") from error
        try:
            self._take_lock()
            self._open(fingerprint, items, overwrite)
        except BaseException:
            self.close()
            raise

    def _take_lock(self) -> None:
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ScoreError(
                f"{self.out} is being written by another run", "wait for it, or choose another --out"
            ) from None

    def _open(self, fingerprint: str, items: Sequence[Item], overwrite: bool) -> None:
        for left in self.folder.iterdir():
            if overwrite or left.name not in ("rows.jsonl", "journal.jsonl"):
                left.unlink()
        path = self.folder / "journal.jsonl"
        kept = self._read(path, fingerprint, items)
        self._rows = self.rows.open("ab")
        self._rows.truncate(max((done.end for done in self.done.values()), default=0))
        self._end = self._rows.seek(0, os.SEEK_END)
        self._growing = GrowingRows(self._rows)
        self._journal = path.open("ab")
        self._journal.truncate(kept)
        if not kept:
            self._write(RunHeader(VERSION, fingerprint))

    def _read(self, path: Path, fingerprint: str, items: Sequence[Item]) -> int:
        """Read what is whole; gives its length."""
        if not path.exists():
            return 0
        lines = path.read_bytes().splitlines(keepends=True)
        if not lines or not lines[0].endswith(b"\n"):
            return 0
        header = _decode(lines[0], RunHeader)
        if header is None or header.version != VERSION or header.fingerprint != fingerprint:
            raise ScoreError(
                f"{self.out} has an unfinished run with another model, other settings or another version",
                "--overwrite begins anew, or choose another --out",
            )
        stamps = {item.key: item.stamp for item in items}
        size = self.rows.stat().st_size if self.rows.exists() else 0
        kept = len(lines[0])
        for line in lines[1:]:
            done = _decode(line, ItemRecord)
            # Rows that a power cut took are scored again, and everything after them.
            if done is None or done.end > size:
                break
            if stamps.get(done.key) != done.stamp:
                raise ScoreError(
                    f"{done.key} changed or is missing since the unfinished run of {self.out} scored it",
                    "give the same paths again, or --overwrite to begin anew",
                )
            self.done[done.key] = done
            kept += len(line)
        return kept

    def follow(self, part: Path) -> None:
        """Take over the rows that the item whose turn it is has so far; they count once it is recorded."""
        assert self._growing is not None
        self._growing.follow(part)

    def commit(self, item: Item, part: Path, rows: int, problems: Sequence[Problem], media_s: float) -> None:
        """Append an item's rows and record it; the part file is gone afterwards."""
        assert self._rows is not None
        assert self._growing is not None
        if part.stat().st_size < self._growing.copied(part):
            # It failed in the end, and none of its rows are kept.
            self._rows.truncate(self._end)
            self._growing = GrowingRows(self._rows)
        self._growing.follow(part)
        self._growing = GrowingRows(self._rows)
        self._end = self._rows.tell()
        os.fdatasync(self._rows.fileno())
        self._write(ItemRecord(item.key, item.stamp, self._rows.tell(), rows, tuple(problems), media_s))
        self.commits += 1
        part.unlink()

    def complete(self) -> None:
        """Forget the run: its output is in place."""
        self.close()
        shutil.rmtree(self.folder, ignore_errors=True)

    def close(self) -> None:
        """Leave everything as it is, to be taken up again."""
        for file in (self._rows, self._journal):
            if file is not None:
                file.close()
        self._rows = self._journal = None
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    def _write(self, line: RunHeader | ItemRecord) -> None:
        assert self._journal is not None
        self._journal.write(msgspec.json.encode(line) + b"\n")
        self._journal.flush()
        os.fdatasync(self._journal.fileno())


def unfinished(out: Path) -> bool:
    """Whether an earlier run of this output was broken off."""
    journal = work_folder(out) / "journal.jsonl"
    return journal.exists() and journal.stat().st_size > 0


def _decode(line: bytes, kind: type[_T]) -> _T | None:
    try:
        return msgspec.json.decode(line, type=kind) if line.endswith(b"\n") else None
    except msgspec.DecodeError:
        return None
