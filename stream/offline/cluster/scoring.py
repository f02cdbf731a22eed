"""``score`` on a cluster: actors that score clips and write shards aside, which the driver puts in place."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec

from stream.offline.cluster.pool import ClusterPool
from stream.offline.cluster.station import Delivered, Station
from stream.offline.dataset.manifest import Shard
from stream.offline.dataset.run import Progress
from stream.offline.dataset.shards import ShardWriter
from stream.offline.inputs import Item
from stream.offline.pool.protocol import Ready
from stream.offline.pool.workers import ATTEMPTS, Task
from stream.offline.protocol import Order, Scored, Setup, lost
from stream.offline.storage import Store


class ScoreRequest(msgspec.Struct, frozen=True):
    """What every actor is told.

    Attributes:
        setup: Of its worker.
        store: The data set.
    """

    setup: Setup
    store: str


def score_task(setup: Setup) -> Task[Order, Scored]:
    """What a worker of ``score`` does."""
    return Task("stream.offline.worker", setup, Order, Scored, lost)


class ScoreStation(Station[Order, Scored]):
    """An actor that scores."""

    def task(self) -> Task[Order, Scored]:
        """What the worker does."""
        return score_task(msgspec.json.decode(self.request, type=ScoreRequest).setup)

    def begin(self, ready: Ready) -> None:
        """The worker is ready."""
        store = Store(msgspec.json.decode(self.request, type=ScoreRequest).store)
        self._writer = ShardWriter(store, ready.labels)

    def place(self, order: Order) -> Order:
        """The order with a part file of this machine."""
        return msgspec.structs.replace(order, part=str(self.folder / f"part-{order.number}.jsonl"))

    def keep(self, order: Order, done: Scored, deaths: int) -> None:
        """Take a result."""
        self._writer.add(order.item, done, deaths, deaths >= ATTEMPTS, Path(order.part))

    def complete(self, everything: bool) -> Sequence[Delivered]:
        """Shards that were written since the last call."""
        return _delivered(self._writer.take(everything))


class ClusterExecutor:
    """Scores on a cluster.

    Args:
        ray: The module, connected.
        request: What every actor is told.
        count: Actors; None for one on each core.
        most: Items there are.
    """

    def __init__(self, ray: Any, request: ScoreRequest, count: int | None, most: int) -> None:
        self._pool = ClusterPool(ray, ScoreStation, msgspec.json.encode(request), count, most)
        self.ready = self._pool.ready

    def run(self, items: Sequence[Item], store: Store, progress: Progress) -> Iterator[Shard]:
        """Score everything; gives each shard as it comes."""
        orders = {n: msgspec.json.encode(Order(n, item, "", digest=True)) for n, item in enumerate(items)}

        def give_up(number: int, reason: str) -> Sequence[Delivered]:
            with tempfile.TemporaryDirectory(prefix="dfer-score-") as folder:
                order = Order(number, items[number], f"{folder}/part")
                writer = ShardWriter(store, self.ready.labels)
                writer.add(order.item, lost(order, reason), ATTEMPTS, True, Path(order.part))
                made = _delivered(writer.take(everything=True))
                writer.close()
            return made

        for delivered in self._pool.run(orders, progress, give_up):
            yield msgspec.json.decode(delivered.body, type=Shard)

    def close(self) -> None:
        """End every actor."""
        self._pool.close()


def _delivered(shards: Sequence[Shard]) -> list[Delivered]:
    return [Delivered(shard.numbers, msgspec.Raw(msgspec.json.encode(shard))) for shard in shards]
