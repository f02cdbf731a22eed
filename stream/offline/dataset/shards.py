"""Gathers the rows of finished items and writes a shard of them aside, while the next are scored."""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import IO

from stream.offline.dataset.manifest import ROWS, InputRecord, Shard, staged, write_shard
from stream.offline.inputs import Item
from stream.offline.protocol import Scored
from stream.offline.storage import Store

ITEMS = 64
BYTES = 32 << 20
AGE_S = 60.0
"""A shard is full at so many items, bytes of JSON, or seconds: a kill costs no more work than that."""


class ShardWriter:
    """Writes shards aside, one at a time, in a thread of its own.

    Args:
        store: The data set.
        labels: The model's classes.
    """

    def __init__(self, store: Store, labels: Sequence[str]) -> None:
        self._store, self._labels = store, labels
        self._writer = ThreadPoolExecutor(1, "shards")
        self._open: dict[str, list[tuple[int, InputRecord, Path]]] = {}
        self._sizes: dict[str, int] = {}
        self._since_ns: dict[str, int] = {}
        self._writing: list[Future[Shard]] = []

    def add(self, item: Item, scored: Scored, deaths: int, quarantined: bool, part: Path) -> None:
        """Take a finished item; its part file is gone once the shard is written."""
        record = InputRecord(
            item.key, item.kind, item.stamp, scored.sha256, scored.rows, scored.problems, scored.media_s, deaths,
            quarantined,
        )  # fmt: skip
        gathered = self._open.setdefault(item.kind, [])
        if not gathered:
            self._sizes[item.kind], self._since_ns[item.kind] = 0, time.monotonic_ns()
        gathered.append((scored.number, record, part))
        self._sizes[item.kind] += part.stat().st_size

    @property
    def waiting(self) -> list[int]:
        """The orders whose rows are in no shard yet."""
        return [number for gathered in self._open.values() for number, _, _ in gathered]

    def take(self, everything: bool = False) -> list[Shard]:
        """The shards that were written since the last call.

        Args:
            everything: Write what there is, and wait for it.

        Raises:
            ScoreError: If one could not be written.
        """
        for kind in [kind for kind in self._open if everything or self._full(kind)]:
            if len(self._writing) > 1:
                # Back-pressure: where the store takes rows slower than they come, scoring waits for it.
                self._writing[0].exception()
            self._writing.append(self._writer.submit(self._write, kind, self._open.pop(kind)))
        ready = [future for future in self._writing if everything or future.done()]
        self._writing = [future for future in self._writing if future not in ready]
        return [future.result() for future in ready]

    def close(self) -> None:
        """Wait for what is being written."""
        self._writer.shutdown(wait=True, cancel_futures=True)

    def _full(self, kind: str) -> bool:
        aged = time.monotonic_ns() - self._since_ns[kind] > AGE_S * 1e9
        return aged or len(self._open[kind]) >= ITEMS or self._sizes[kind] >= BYTES

    def _write(self, kind: str, gathered: list[tuple[int, InputRecord, Path]]) -> Shard:
        shard = Shard(
            f"{ROWS}/kind={kind}/part-{uuid.uuid4().hex}.parquet",
            tuple(number for number, _, _ in gathered),
            tuple(record for _, record, _ in gathered),
        )
        rows = _opened(part for _, _, part in gathered)
        self._store.stage(staged(shard), lambda out: write_shard(rows, shard, self._labels, out))
        for _, _, part in gathered:
            part.unlink()
        return shard


def _opened(parts: Iterable[Path]) -> Iterator[IO[bytes]]:
    for part in parts:
        with part.open("rb") as lines:
            yield lines
