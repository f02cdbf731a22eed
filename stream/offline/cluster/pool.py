"""The driver's end: hands orders to actors one by one, and gives again whatever an actor took with it."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from stream.offline import ScoreError
from stream.offline.cluster.address import what_is_wrong
from stream.offline.cluster.station import Delivered, Reply, Station, versions
from stream.offline.pool.protocol import Ready
from stream.offline.pool.workers import ATTEMPTS, OPENING_S

_AHEAD = 2
"""Orders that an actor has at once, while there are many: it never waits for the driver's answer."""
_COUNT_EVERY_S = 3.0
_WAIT_S = 0.5


@dataclass
class _Actor:
    handle: Any
    ready: bool = False
    flushing: bool = False
    given: list[int] = field(default_factory=list)
    """Orders that it has not answered, oldest first: the first is in hand."""
    kept: list[int] = field(default_factory=list)
    """Orders that it has done, whose results would be lost with it."""


class ClusterPool:
    """Actors on every core of a cluster.

    Args:
        ray: The module, connected.
        station: The actor's class.
        request: What each is told.
        count: How many; None for one on each core there is, also of nodes that come later.
        most: Orders there will be; more actors are never needed.

    Attributes:
        ready: What the first that came up said of its model.

    Raises:
        ScoreError: If none comes up.
    """

    def __init__(
        self, ray: Any, station: type[Station[Any, Any]], request: bytes, count: int | None, most: int
    ) -> None:
        self._ray, self._request, self._count = ray, request, count
        self._class = ray.remote(num_cpus=1, max_restarts=0, max_task_retries=0, scheduling_strategy="SPREAD")(station)
        context = ray.get_runtime_context()
        self._address, self._node = str(context.gcs_address), str(context.get_node_id())
        self._actors: list[_Actor] = []
        self._gone: list[_Actor] = []
        self._calls: dict[Any, _Actor] = {}
        self._failures = 0
        self._counted_ns, self._cores = 0, 0
        self._ready: Ready | None = None
        self._began_ns = time.monotonic_ns()
        try:
            while self._ready is None:
                self._fill(most)
                for _ in self._receive({}):
                    pass
                if time.monotonic_ns() - self._began_ns > OPENING_S * 1e9:
                    raise ScoreError(
                        f"the cluster gave no core within {OPENING_S:g} s",
                        "ray status says what takes them; wait, or add nodes",
                    )
        except BaseException:
            self.close()
            raise
        self.ready: Ready = self._ready

    def run(
        self,
        orders: Mapping[int, bytes],
        progress: Callable[[Mapping[int, float]], None],
        lost: Callable[[int, str], Sequence[Delivered]],
    ) -> Iterator[Delivered]:
        """Do everything, each order once.

        Args:
            orders: JSON by number, in the order in which they are begun.
            progress: Called now and then with 1.0 for each order that is done and not delivered.
            lost: Gives what is delivered of an order that so many actors did not survive, with the reason.

        Raises:
            ScoreError: If a node refuses, or another runs another model.
        """
        waiting, left, deaths = list(orders)[::-1], set(orders), dict.fromkeys(orders, 0)
        while left:
            self._fill(len(left))
            self._give(waiting, orders)
            for delivered in self._receive(deaths):
                left -= set(delivered.numbers)
                yield delivered
            for number in self._returned(left):
                if deaths[number] < ATTEMPTS:
                    waiting.append(number)
                    continue
                for delivered in lost(number, f"the actor that scored it died, {ATTEMPTS} times: quarantined"):
                    left -= set(delivered.numbers)
                    yield delivered
            progress({number: 1.0 for actor in self._actors for number in actor.kept})

    def close(self) -> None:
        """End every actor, and leave the cluster as it was."""
        for actor in self._actors:
            with contextlib.suppress(Exception):
                self._ray.kill(actor.handle)
        self._actors.clear()
        self._ray.shutdown()

    def _fill(self, most: int) -> None:
        """Start actors where cores are: those of nodes that came, and for those that died."""
        now_ns = time.monotonic_ns()
        if now_ns - self._counted_ns > _COUNT_EVERY_S * 1e9:
            self._counted_ns, self._cores = now_ns, self._count_cores()
        wanted = min(most, max(self._count or self._cores, 1))
        while len(self._actors) < wanted:
            actor = _Actor(self._class.remote(self._request, versions(), str(Path.cwd())))
            self._actors.append(actor)
            self._calls[actor.handle.open.remote()] = actor

    def _count_cores(self) -> int:
        """How many cores the nodes have together that are alive.

        Raises:
            ScoreError: If the node that this driver is on left: Ray would wait for it for ever.
        """
        if (problem := what_is_wrong(self._address)) is None:
            alive = [node for node in self._ray.nodes() if node["Alive"]]
            if any(node["NodeID"] == self._node for node in alive):
                return int(sum(node["Resources"].get("CPU", 0) for node in alive))
            problem = "the node that this command runs on left it"
        raise ScoreError(
            f"the cluster at {self._address} is gone: {problem}",
            "what was placed is whole; start the cluster again, and the same command with --resume goes on",
        )

    def _give(self, waiting: list[int], orders: Mapping[int, bytes]) -> None:
        ready = [actor for actor in self._actors if actor.ready and not actor.flushing]
        for actor in sorted(ready, key=lambda actor: len(actor.given)):
            # Towards the end one each: what lies before a busy actor cannot be done by an idle one.
            ahead = _AHEAD if len(waiting) > _AHEAD * len(ready) else 1
            while waiting and len(actor.given) < ahead:
                number = waiting.pop()
                actor.given.append(number)
                self._calls[actor.handle.work.remote(orders[number])] = actor
            if not waiting and not actor.given and actor.kept:
                actor.flushing = True
                self._calls[actor.handle.flush.remote()] = actor

    def _receive(self, deaths: dict[int, int]) -> Iterator[Delivered]:
        """Take what was answered; an actor that died is left with what it took."""
        answered, _ = self._ray.wait(list(self._calls), num_returns=1, timeout=_WAIT_S)
        if answered:
            # All there are: with hundreds of actors, one a call would be the limit.
            answered, _ = self._ray.wait(list(self._calls), num_returns=len(self._calls), timeout=0)
        for call in answered:
            if (actor := self._calls.pop(call, None)) is None or actor not in self._actors:
                continue
            try:
                reply = msgspec.json.decode(self._ray.get(call), type=Reply)
            except self._ray.exceptions.RayActorError as error:
                self._lose(actor, deaths, error)
                continue
            if reply.refused:
                raise ScoreError(reply.refused)
            self._failures = 0
            if reply.ready is not None:
                self._welcome(actor, reply.node, reply.ready)
                continue
            if not actor.flushing:
                actor.kept.append(actor.given.pop(0))
            actor.flushing = False
            for delivered in reply.delivered:
                actor.kept = [number for number in actor.kept if number not in delivered.numbers]
                yield delivered

    def _welcome(self, actor: _Actor, node: str, ready: Ready) -> None:
        if self._ready is not None and ready != self._ready:
            own, theirs = (f"{r.name} {r.sha256[:12]}, {r.backend} {r.precision}" for r in (self._ready, ready))
            raise ScoreError(
                f"node {node} runs {theirs}, the others {own}: scores would differ",
                "give every node the same bundle, or set --precision and --backend",
            )
        actor.ready, self._ready = True, ready

    def _lose(self, actor: _Actor, deaths: dict[int, int], error: BaseException) -> None:
        words = " ".join(str(error).split())
        if "No module named" in words:
            raise ScoreError(
                "a node of the cluster has no dferstream",
                "pip install 'dferstream[ray]' under the Python of every node",
            ) from error
        if not actor.ready:
            self._failures += 1
            if self._failures >= ATTEMPTS * 2:
                raise ScoreError(f"actors of the cluster end before they begin: {words[-200:]}", "ray logs says more")
        if actor.given:
            deaths[actor.given[0]] += 1
        self._actors.remove(actor)
        self._gone.append(actor)
        with contextlib.suppress(Exception):
            # Where only the line to it is cut, it shall not go on beside its successor.
            self._ray.kill(actor.handle)

    def _returned(self, left: set[int]) -> Iterator[int]:
        """What actors that died took with them."""
        for actor in self._gone:
            yield from (number for number in (*actor.given, *actor.kept) if number in left)
        self._gone.clear()
