"""Which inputs a data set holds, by hash: told by its shards themselves, so that no shard and no record can be apart.

A shard's footer names the inputs whose rows it has. A shard is put in place by one rename, and with it its inputs count
as scored; what a killed run leaves besides is in ``staging/``, where nobody reads.
"""

from __future__ import annotations

import fcntl
import os
import uuid
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import IO, Any

import msgspec

from stream.offline import ScoreError
from stream.offline.inputs import Item, Problem, digest
from stream.offline.storage import Store
from stream.offline.table import schema, tables

VERSION = 1
HEADER = "dataset.json"
ROWS = "rows"
STAGING = "staging"
INPUTS = "inputs.parquet"
FOOTER = b"dfer.inputs"
_READERS = 16


class Header(msgspec.Struct, frozen=True):
    """What a data set was made with.

    Attributes:
        version: Of its layout.
        fingerprint: Of everything that changes a score: model, settings, kind of input.
        model: Name, hash, back end and precision, for people.
        labels: The classes, in the order of the columns.
        run: The run that writes it; whoever began last.
    """

    version: int
    fingerprint: str
    model: str
    labels: tuple[str, ...]
    run: str


class InputRecord(msgspec.Struct, frozen=True):
    """An input whose rows, if it has any, are in a shard.

    Attributes:
        key: The item's.
        kind: The item's.
        stamp: Changes when a file changes, or is copied.
        sha256: Of what the files hold.
        rows: How many it gave.
        problems: What was wrong with it.
        media_s: Length of video, s.
        deaths: Workers that it cost.
        quarantined: It cost so many that it was left alone.
    """

    key: str
    kind: str
    stamp: str
    sha256: str
    rows: int
    problems: tuple[Problem, ...] = ()
    media_s: float = 0.0
    deaths: int = 0
    quarantined: bool = False


class Shard(msgspec.Struct, frozen=True):
    """A shard that was written aside and waits to be put in place.

    Attributes:
        name: Where it belongs, below the data set.
        numbers: The orders whose rows it has.
        inputs: Likewise, their records.
    """

    name: str
    numbers: tuple[int, ...]
    inputs: tuple[InputRecord, ...]


def staged(shard: Shard) -> str:
    """Where a shard waits."""
    return f"{STAGING}/{shard.name.rpartition('/')[2]}"


class Manifest:
    """A data set, open for one run. On a local disk opening it locks it.

    Args:
        store: Where.
        overwrite: Whether to begin anew.
        resume: Whether a data set that is there is to go on.

    Attributes:
        done: What is scored, by key.

    Raises:
        ScoreError: If it is written by another run, is there already, or is none of ours.
    """

    def __init__(self, store: Store, resume: bool, overwrite: bool) -> None:
        self.store, self.done = store, dict[str, InputRecord]()
        self._run, self._lock = uuid.uuid4().hex, -1
        if store.local is not None:
            self._take_lock(store)
        try:
            found = store.read(HEADER)
            self._header = None if found is None else _decoded(found, store.url)
            if self._header is None and next(iter(store.files()), None) is not None:
                raise ScoreError(f"{store.url} holds other files", "choose an empty or a new place for --dataset")
            if self._header is not None and overwrite:
                for name in (ROWS, INPUTS, HEADER):
                    store.remove(name)
                self._header = None
            if self._header is not None and not resume:
                raise ScoreError(
                    f"{store.url} is there",
                    "--resume goes on with it, --overwrite replaces it, or choose another place",
                )
        except BaseException:
            self.close()
            raise

    def begin(self, fingerprint: str, model: str, labels: tuple[str, ...], items: Sequence[Item]) -> None:
        """Take up what is there, and say from now on that this run writes it.

        Raises:
            ScoreError: If it is of another model or other settings, or a file changed since it was scored.
        """
        if self._header is not None and (self._header.version, self._header.fingerprint) != (VERSION, fingerprint):
            raise ScoreError(
                f"{self.store.url} was made with another model, other settings or another version "
                f"({self._header.model}; now {model})",
                "--overwrite begins anew, or choose another place",
            )
        self.store.remove(STAGING)
        header = Header(VERSION, fingerprint, model, labels, self._run)
        self.store.write(HEADER, lambda out: out.write(msgspec.json.encode(header)))
        for record in self._recorded():
            self.done[record.key] = record
        for item in items:
            self._check(item)

    def place(self, shard: Shard) -> None:
        """Put a shard in place: from now on its inputs are scored.

        Raises:
            ScoreError: If another run has begun to write this data set.
        """
        found = self.store.read(HEADER)
        if found is None or _decoded(found, self.store.url).run != self._run:
            raise ScoreError(
                f"{self.store.url} is being written by another run", "wait for it, or choose another place"
            )
        self.store.move(staged(shard), shard.name)
        for record in shard.inputs:
            self.done[record.key] = record

    def complete(self) -> None:
        """Write the table of inputs, for people and programs that look for what is missing."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        records = sorted(self.done.values(), key=lambda record: record.key)
        reasons = ["; ".join(problem.reason for problem in record.problems) or None for record in records]
        table = pa.table(
            {
                "input": pa.array([record.key for record in records], pa.string()),
                "kind": pa.array([record.kind for record in records], pa.string()),
                "sha256": pa.array([record.sha256 for record in records], pa.string()),
                "rows": pa.array([record.rows for record in records], pa.int64()),
                "media_s": pa.array([record.media_s for record in records], pa.float64()),
                "problem": pa.array(reasons, pa.string()),
                "quarantined": pa.array([record.quarantined for record in records], pa.bool_()),
            }
        )
        self.store.write(INPUTS, lambda out: pq.write_table(table, out, compression="zstd"))
        self.store.remove(STAGING)

    def close(self) -> None:
        """Leave everything as it is, to be taken up again."""
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    def _take_lock(self, store: Store) -> None:
        assert store.local is not None
        try:
            store.local.mkdir(parents=True, exist_ok=True)
            self._lock = os.open(store.local, os.O_RDONLY)
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self.close()
            raise ScoreError(
                f"{store.url} is being written by another run", "wait for it, or choose another place"
            ) from None
        except OSError as error:
            raise ScoreError(f"{store.url} cannot be written: {error.strerror}", "choose another place") from error

    def _recorded(self) -> Iterable[InputRecord]:
        names = [name for name, _, _ in self.store.files(ROWS, ".parquet")]
        with ThreadPoolExecutor(_READERS) as readers:
            for found in readers.map(self._inputs_of, names):
                yield from found

    def _inputs_of(self, name: str) -> Sequence[InputRecord]:
        import pyarrow.parquet as pq

        with self.store.open(name) as source:
            footer = pq.ParquetFile(source).metadata.metadata or {}
        if FOOTER not in footer:
            raise ScoreError(f"{self.store.url}/{name} is no shard of this data set", "move it elsewhere")
        return msgspec.json.decode(footer[FOOTER], type=list[InputRecord])

    def _check(self, item: Item) -> None:
        record = self.done.get(item.key)
        if record is None or record.stamp == item.stamp:
            return
        # Copied or touched, but the same: its hash says so.
        if record.sha256 and "://" not in item.path and digest(item) == record.sha256:
            return
        raise ScoreError(
            f"{item.key} changed since it was scored into {self.store.url}",
            "give the file as it was, --overwrite to begin anew, or choose another place",
        )


def _decoded(found: bytes, url: str) -> Header:
    try:
        return msgspec.json.decode(found, type=Header)
    except msgspec.DecodeError as error:
        raise ScoreError(f"{url}/{HEADER} is not ours: {error}", "choose another place") from error


def write_shard(parts: Iterable[IO[bytes]], shard: Shard, labels: Sequence[str], out: IO[bytes]) -> None:
    """Write a shard: rows, then in the footer whose they are.

    Args:
        parts: Lines of JSON.
        shard: Names its inputs.
        labels: The model's classes.
        out: Takes the file.
    """
    import pyarrow.parquet as pq

    footer: dict[bytes, Any] = {FOOTER: msgspec.json.encode(shard.inputs)}
    kinds = schema(labels)
    with pq.ParquetWriter(out, kinds.with_metadata(footer), compression="zstd") as writer:
        for part in parts:
            for batch in tables(part, labels):
                writer.write_table(batch.replace_schema_metadata(footer))
