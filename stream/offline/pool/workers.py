"""The parent's end of the workers: hands out orders, judges the silent, tries again what a worker did not survive."""

from __future__ import annotations

import os
import selectors
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Generic, Protocol, TypeVar

import msgspec

from engine.settings import child_environment
from stream.offline import ScoreError
from stream.offline.pool.protocol import Progressed, Ready, Refused

_ROOT = Path(__file__).resolve().parents[3]
_BOOT = "import sys, importlib; sys.path[0] = sys.argv[1]; sys.exit(importlib.import_module(sys.argv[2]).main())"
ATTEMPTS = 3
"""A piece of work that ended its worker so often is left alone from then on."""
SILENT_S = 120.0
"""A worker that says nothing for longer hangs in its file."""
OPENING_S = 600.0
"""Longest time for opening the model."""


class Numbered(Protocol):
    """An order or its result."""

    @property
    def number(self) -> int:
        """Which order, among those of one run."""


OrderT = TypeVar("OrderT", bound=Numbered)
DoneT = TypeVar("DoneT", bound=Numbered)


@dataclass(frozen=True)
class Task(Generic[OrderT, DoneT]):
    """What the workers do.

    Attributes:
        module: Has ``main``, which is a worker.
        setup: What each is told at first.
        order: The struct of an order, as JSON.
        done: The struct of a result, with a tag of its own.
        lost: The result of an order that its workers did not survive, with the reason.
    """

    module: str
    setup: msgspec.Struct
    order: type[OrderT]
    done: type[DoneT]
    lost: Callable[[OrderT, str], DoneT]


class WorkerProcess(Generic[OrderT, DoneT]):
    """One worker.

    Args:
        task: What it does.
    """

    def __init__(self, task: Task[OrderT, DoneT]) -> None:
        self._answer: Any = task.done | Ready | Progressed | Refused
        self._stderr: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 - as long as the process
        self._process = subprocess.Popen(
            [sys.executable, "-c", _BOOT, str(_ROOT), task.module],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._stderr,
            env=child_environment(),
            start_new_session=True,
        )
        self.order: OrderT | None = None
        self.ready = False
        self.last_answer_ns = time.monotonic_ns()
        self._buffer = b""
        self._send(task.setup)

    def fileno(self) -> int:
        """Where its answers come from."""
        assert self._process.stdout is not None
        return self._process.stdout.fileno()

    def give(self, order: OrderT) -> None:
        """Give it the next order."""
        self.order, self.last_answer_ns = order, time.monotonic_ns()
        self._send(order)

    def answers(self) -> list[DoneT | Ready | Progressed | Refused] | None:
        """Its answers since the last call; None once it is gone."""
        data = os.read(self.fileno(), 1 << 16)
        if not data:
            return None
        self.last_answer_ns = time.monotonic_ns()
        *lines, self._buffer = (self._buffer + data).split(b"\n")
        return [msgspec.json.decode(line, type=self._answer) for line in lines]

    @property
    def silent(self) -> bool:
        """Whether it should have answered long ago."""
        limit_s = SILENT_S if self.ready else OPENING_S
        waits = self.order is not None or not self.ready
        return waits and time.monotonic_ns() - self.last_answer_ns > limit_s * 1e9

    def exit_reason(self) -> str:
        """The last line it wrote before it died, or how it ended."""
        self._stderr.seek(0)
        lines = self._stderr.read()[-4000:].decode("utf-8", "replace").strip().splitlines()
        code = self._process.wait()
        how = f"signal {-code}" if code < 0 else f"exit code {code}"
        return f"{how}: {lines[-1].strip()}" if lines else how

    def end(self) -> None:
        """End it at once; it has nothing to lose."""
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                try:
                    pipe.close()
                except OSError:
                    continue
        self._stderr.close()

    def _send(self, message: msgspec.Struct | OrderT) -> None:
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(msgspec.json.encode(message) + b"\n")
            self._process.stdin.flush()
        except OSError:
            # It is gone: the end of its answers says so.
            return


class Workers(Generic[OrderT, DoneT]):
    """Several workers on one list of orders.

    Args:
        task: What they do.
        count: How many at most.

    Attributes:
        ready: What the first worker said of itself.

    Raises:
        ScoreError: If the first does not come up: no model, no back end.
    """

    def __init__(self, task: Task[OrderT, DoneT], count: int) -> None:
        self._task, self._count = task, count
        self._selector = selectors.DefaultSelector()
        self._workers: list[WorkerProcess[OrderT, DoneT]] = []
        self._waiting: list[OrderT] = []
        self._deaths: dict[int, int] = {}
        self._idle_deaths = 0
        try:
            # Started together, so that both load at once.
            for _ in range(count):
                self._start()
            self.ready = self._wait_ready()
        except BaseException:
            self.close()
            raise

    def in_order(
        self,
        orders: Sequence[OrderT],
        progress: Callable[[Mapping[int, float]], None],
        growing: Callable[[OrderT], None],
    ) -> Iterator[tuple[OrderT, DoneT]]:
        """Do everything, and give the results in the order of the orders.

        Args:
            orders: What to do.
            progress: Called now and then with the share done of each order under way, by its number.
            growing: Called as often with the order whose turn it is.

        Raises:
            ScoreError: If the model cannot run any more.
        """
        done: dict[int, DoneT] = {}
        arriving = self.as_completed(orders, progress)
        for order in orders:
            while order.number not in done:
                arrived = next(arriving)
                if arrived is not None:
                    done[arrived[0].number] = arrived[1]
                if order.number not in done:
                    growing(order)
            yield order, done.pop(order.number)

    def as_completed(
        self, orders: Sequence[OrderT], progress: Callable[[Mapping[int, float]], None]
    ) -> Iterator[tuple[OrderT, DoneT] | None]:
        """Do everything, and give each result as it comes; None now and then while none does.

        Args:
            orders: What to do, in the order in which they are begun.
            progress: Called now and then with the share done of each order under way, by its number.

        Raises:
            ScoreError: If the model cannot run any more.
        """
        self._waiting = list(orders)[::-1]
        by_number = {order.number: order for order in orders}
        shares: dict[int, float] = {}
        while by_number:
            for worker in self._workers:
                if worker.ready and worker.order is None and self._waiting:
                    worker.give(self._waiting.pop())
            arrived = list(self._receive(shares))
            progress(shares)
            for done in arrived:
                shares.pop(done.number, None)
                yield by_number.pop(done.number), done
            if not arrived:
                yield None
            busy = sum(worker.order is not None for worker in self._workers)
            while len(self._workers) < min(self._count, len(self._waiting) + busy):
                self._start()

    def deaths(self, number: int) -> int:
        """How many workers an order has cost."""
        return self._deaths.get(number, 0)

    def close(self) -> None:
        """End every worker."""
        for worker in self._workers:
            self._selector.unregister(worker)
            worker.end()
        self._workers.clear()
        self._selector.close()

    def _start(self) -> None:
        worker = WorkerProcess(self._task)
        self._workers.append(worker)
        self._selector.register(worker, selectors.EVENT_READ)

    def _wait_ready(self) -> Ready:
        while True:
            for key, _ in self._selector.select(0.5):
                worker: WorkerProcess[OrderT, DoneT] = key.fileobj  # type: ignore[assignment]
                answers = worker.answers()
                if answers is None:
                    raise ScoreError(f"scoring does not start: {worker.exit_reason()}")
                for answer in answers:
                    if isinstance(answer, Refused):
                        raise ScoreError(answer.reason)
                    if isinstance(answer, Ready):
                        worker.ready = True
                        return answer
            if any(worker.silent for worker in self._workers):
                raise ScoreError(f"the model did not open within {OPENING_S:g} s")

    def _receive(self, shares: dict[int, float]) -> Iterator[DoneT]:
        for key, _ in self._selector.select(0.5):
            worker: WorkerProcess[OrderT, DoneT] = key.fileobj  # type: ignore[assignment]
            answers = worker.answers()
            if answers is None:
                yield from self._lost(worker, f"the decoder crashed on it ({worker.exit_reason()})")
                continue
            for answer in answers:
                if isinstance(answer, Refused):
                    raise ScoreError(answer.reason)
                if isinstance(answer, Ready):
                    worker.ready = True
                elif isinstance(answer, Progressed):
                    shares[answer.number] = answer.share
                else:
                    worker.order, self._idle_deaths = None, 0
                    yield answer
        for worker in [worker for worker in self._workers if worker.silent]:
            yield from self._lost(worker, f"gave nothing for {SILENT_S:g} s: the decoder hangs on it")

    def _lost(self, worker: WorkerProcess[OrderT, DoneT], reason: str) -> Iterator[DoneT]:
        """A worker that crashed or hangs takes its order with it, which is tried again, not for ever."""
        order = worker.order
        self._selector.unregister(worker)
        self._workers.remove(worker)
        worker.end()
        if order is None:
            self._idle_deaths += 1
            if self._idle_deaths >= ATTEMPTS:
                raise ScoreError(f"workers end before they have anything to do: {reason}")
            return
        self._deaths[order.number] = self.deaths(order.number) + 1
        if self.deaths(order.number) < ATTEMPTS:
            self._waiting.append(order)
            return
        yield self._task.lost(order, f"{reason}, {ATTEMPTS} times: quarantined")
