"""What an order costs the driver: orders that nobody works on, on a real cluster: ``python -m tests.archive.idle``."""

from __future__ import annotations

import platform
import time
from collections.abc import Sequence

import msgspec

from stream.offline.cluster.address import connect
from stream.offline.cluster.pool import ClusterPool
from stream.offline.cluster.station import Delivered, Reply, Station
from stream.offline.pool.protocol import Ready
from stream.offline.pool.workers import Task
from stream.offline.protocol import Order, Scored
from tests.archive.cluster import two_nodes

ORDERS = 3000


class IdleStation(Station[Order, Scored]):
    """Answers at once."""

    def task(self) -> Task[Order, Scored]:
        raise NotImplementedError

    def place(self, order: Order) -> Order:
        raise NotImplementedError

    def keep(self, order: Order, done: Scored, deaths: int) -> None:
        raise NotImplementedError

    def complete(self, everything: bool) -> Sequence[Delivered]:
        raise NotImplementedError

    def begin(self, ready: Ready) -> None:
        raise NotImplementedError

    def open(self) -> bytes:
        return msgspec.json.encode(Reply(platform.node(), ready=Ready("none")))

    def work(self, order: bytes) -> bytes:
        number = msgspec.json.decode(order)["number"]
        delivered = Delivered((number,), msgspec.Raw(b"null"))
        return msgspec.json.encode(Reply(platform.node(), delivered=(delivered,)))


def main() -> None:
    """Print the driver's time for an order."""
    with two_nodes() as cluster:
        pool = ClusterPool(connect(cluster.address), IdleStation, b"", None, ORDERS)
        orders = {n: msgspec.json.encode({"number": n, "path": "clips/happiness/0001/clip.mp4"}) for n in range(ORDERS)}
        before = time.process_time()
        done = sum(len(each.numbers) for each in pool.run(orders, lambda _: None, lambda _n, _r: []))
        spent = time.process_time() - before
        pool.close()
    assert done == ORDERS
    print(f"{1e3 * spent / ORDERS:.2f} ms of the driver's CPU an order, {ORDERS} orders on two nodes")


if __name__ == "__main__":
    main()
