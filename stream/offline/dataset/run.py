"""A run of ``score`` into a data set: from the plan's items to shards in place, whoever does the work."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from engine.console import stoppable
from stream.offline.dataset.manifest import Manifest, Shard
from stream.offline.dataset.shards import ShardWriter
from stream.offline.inputs import Item
from stream.offline.pool.protocol import Ready
from stream.offline.pool.workers import ATTEMPTS, Task, Workers
from stream.offline.progress import Bar
from stream.offline.protocol import Order, Scored
from stream.offline.report import Report
from stream.offline.storage import Store

Progress = Callable[[Mapping[int, float]], None]


class Executor(Protocol):
    """Scores items and writes their shards aside: on this machine, or on a cluster.

    Attributes:
        ready: The model, the same in every worker.
    """

    ready: Ready

    def run(self, items: Sequence[Item], store: Store, progress: Progress) -> Iterator[Shard]:
        """Score everything; gives each shard as it comes."""
        ...

    def close(self) -> None:
        """End every worker."""
        ...


class LocalExecutor:
    """Worker processes of this machine.

    Args:
        task: What they do.
        count: How many.
        folder: For what is not in a shard yet.
    """

    def __init__(self, task: Task[Order, Scored], count: int, folder: Path) -> None:
        self._workers, self._folder = Workers(task, count), folder
        self.ready = self._workers.ready

    def run(self, items: Sequence[Item], store: Store, progress: Progress) -> Iterator[Shard]:
        """Score everything; gives each shard as it comes."""
        writer = ShardWriter(store, self.ready.labels)
        orders = [
            Order(number, item, str(self._folder / f"part-{number}.jsonl"), digest=True)
            for number, item in enumerate(items)
        ]
        try:

            def told(shares: Mapping[int, float]) -> None:
                progress({**shares, **dict.fromkeys(writer.waiting, 1.0)})

            for arrived in self._workers.as_completed(orders, told):
                if arrived is not None:
                    order, scored = arrived
                    deaths = self._workers.deaths(order.number)
                    writer.add(order.item, scored, deaths, deaths >= ATTEMPTS, Path(order.part))
                yield from writer.take()
            yield from writer.take(everything=True)
        finally:
            writer.close()

    def close(self) -> None:
        """End every worker."""
        self._workers.close()


@dataclass(frozen=True)
class DatasetRun:
    """What is to be scored into which data set.

    Attributes:
        items: Everything that the paths hold.
        manifest: The data set, open.
        fingerprint: Of everything that changes a score, given the model.
        report: Takes what is to be said.
    """

    items: Sequence[Item]
    manifest: Manifest
    fingerprint: Callable[[Ready], str]
    report: Report

    def score(self, executor: Executor) -> None:
        """Score what no shard holds yet.

        Raises:
            ScoreError: If the data set is of another model, or cannot be written.
        """
        manifest, ready, report = self.manifest, executor.ready, self.report
        name = f"{ready.name} {ready.sha256[:12]}, {ready.backend} {ready.precision}"
        manifest.begin(self.fingerprint(ready), name, ready.labels, self.items)
        # The longest first: at the end no worker is left alone with one.
        left = sorted((item for item in self.items if item.key not in manifest.done), key=lambda item: -item.size)
        known = {item.key: item for item in self.items}
        before = len(self.items) - len(left)
        with Bar(len(self.items), before, report.quiet) as bar:
            if before:
                report.say(f"going on: {before} of {len(self.items)} items were scored before")
            for key, record in manifest.done.items():
                if key in known:
                    report.judge(known[key], record.rows, record.problems, bar)
            with stoppable(lambda: self._left()):
                for shard in executor.run(left, manifest.store, bar.under_way) if left else ():
                    manifest.place(shard)
                    for record in shard.inputs:
                        report.finished(known[record.key], record.rows, record.problems, record.media_s, bar)
        manifest.complete()

    def _left(self) -> str:
        scored = sum(item.key in self.manifest.done for item in self.items)
        return (
            f"stopped with {scored} of {len(self.items)} items scored; the same command with --resume goes on "
            f"({self.manifest.store.url})"
        )
