"""What works on a node: an actor with one worker process, whose model stays open.

The decoder lives in the process below the actor, as it does without a cluster: a file that kills it is met by the same
code, with its reason, and takes nothing that was scored before with it.
"""

from __future__ import annotations

import importlib.metadata
import os
import platform
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Generic

import msgspec

from engine.errors import DferError
from stream.offline import ScoreError
from stream.offline.pool.protocol import Ready
from stream.offline.pool.workers import DoneT, OrderT, Task, Workers

WIRE_VERSION = 1
"""Goes up when driver and actors of another version would not understand each other."""


class Delivered(msgspec.Struct, frozen=True):
    """Results that are complete: nothing of them is lost with the actor.

    Attributes:
        numbers: The orders that they answer.
        body: JSON of what came of them.
    """

    numbers: tuple[int, ...]
    body: msgspec.Raw


class Reply(msgspec.Struct, frozen=True, omit_defaults=True):
    """What an actor answers.

    Attributes:
        node: Name of its machine.
        refused: Why nothing can be done there, with the remedy; empty where it can.
        ready: To the first call: the model.
        delivered: To all others: what is complete by now.
    """

    node: str
    refused: str = ""
    ready: Ready | None = None
    delivered: tuple[Delivered, ...] = ()


def versions() -> str:
    """What must be the same in the driver and on every node."""
    return f"dferstream {importlib.metadata.version('dferstream')}, protocol {WIRE_VERSION}"


class Station(ABC, Generic[OrderT, DoneT]):
    """One actor.

    Args:
        request: JSON of what every actor is told; what it means, a subclass knows.
        driver: The driver's :func:`versions`.
        here: The driver's folder, from which paths are named.
    """

    def __init__(self, request: bytes, driver: str, here: str) -> None:
        self.request, self._driver, self._here = request, driver, here
        self.folder = Path(tempfile.mkdtemp(prefix="dfer-station-"))
        self._workers: Workers[OrderT, DoneT] | None = None

    @abstractmethod
    def task(self) -> Task[OrderT, DoneT]:
        """What the worker does."""

    @abstractmethod
    def place(self, order: OrderT) -> OrderT:
        """The order with what only this machine knows."""

    @abstractmethod
    def keep(self, order: OrderT, done: DoneT, deaths: int) -> None:
        """Take a result."""

    @abstractmethod
    def complete(self, everything: bool) -> Sequence[Delivered]:
        """Results that are complete since the last call; with `everything`, all."""

    @abstractmethod
    def begin(self, ready: Ready) -> None:
        """The worker is ready."""

    def open(self) -> bytes:
        """Open the model; the first call."""
        node = platform.node()
        try:
            if self._driver != versions():
                raise ScoreError(
                    f"node {node} has {versions()}, the machine that asks has {self._driver}",
                    "install the same version on every node",
                )
            if not Path(self._here).is_dir():
                raise ScoreError(
                    f"node {node} does not see {self._here}",
                    "share it under the same name, or name files by s3://… or gs://…",
                )
            os.chdir(self._here)
            task = self.task()
            self._workers = Workers(task, 1)
            self.begin(self._workers.ready)
            return msgspec.json.encode(Reply(node, ready=self._workers.ready))
        except (DferError, OSError) as error:
            return msgspec.json.encode(Reply(node, refused=str(error)))

    def work(self, order: bytes) -> bytes:
        """Do one order, JSON of the task's."""
        assert self._workers is not None
        try:
            given = self.place(msgspec.json.decode(order, type=self.task().order))
            for arrived in self._workers.as_completed([given], lambda _: None):
                if arrived is not None:
                    self.keep(*arrived, self._workers.deaths(given.number))
            return self._reply(everything=False)
        except (DferError, OSError) as error:
            return msgspec.json.encode(Reply(platform.node(), refused=str(error)))

    def flush(self) -> bytes:
        """Complete what is not yet."""
        try:
            return self._reply(everything=True)
        except (DferError, OSError) as error:
            return msgspec.json.encode(Reply(platform.node(), refused=str(error)))

    def _reply(self, everything: bool) -> bytes:
        return msgspec.json.encode(Reply(platform.node(), delivered=tuple(self.complete(everything))))
