"""The parent's end of the workers: hands out items, judges the silent, takes answers in the order of the items."""

from __future__ import annotations

import os
import selectors
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO

import msgspec

from engine.settings import child_environment
from stream.offline import ScoreError
from stream.offline.inputs import Item, Problem
from stream.offline.protocol import Answer, Order, Progressed, Ready, Refused, Scored, Setup

_ROOT = Path(__file__).resolve().parent.parent.parent
_BOOT = "import sys; sys.path[0] = sys.argv[1]; from stream.offline.worker import main; sys.exit(main())"
SILENT_S = 120.0
"""A worker that says nothing for longer hangs in its file."""
OPENING_S = 600.0
"""Longest time for opening the model."""


class WorkerProcess:
    """One worker.

    Args:
        setup: What it is told at first.
    """

    def __init__(self, setup: Setup) -> None:
        self._stderr: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 - as long as the process
        self._process = subprocess.Popen(
            [sys.executable, "-c", _BOOT, str(_ROOT)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._stderr,
            env=child_environment(),
            start_new_session=True,
        )
        self.order: Order | None = None
        self.ready = False
        self.last_answer_ns = time.monotonic_ns()
        self._buffer = b""
        self._send(setup)

    def fileno(self) -> int:
        """Where its answers come from."""
        assert self._process.stdout is not None
        return self._process.stdout.fileno()

    def give(self, order: Order) -> None:
        """Give it the next item."""
        self.order, self.last_answer_ns = order, time.monotonic_ns()
        self._send(order)

    def answers(self) -> list[Answer] | None:
        """Its answers since the last call; None once it is gone."""
        data = os.read(self.fileno(), 1 << 16)
        if not data:
            return None
        self.last_answer_ns = time.monotonic_ns()
        *lines, self._buffer = (self._buffer + data).split(b"\n")
        return [msgspec.json.decode(line, type=Answer) for line in lines]

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

    def _send(self, message: Setup | Order) -> None:
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(msgspec.json.encode(message) + b"\n")
            self._process.stdin.flush()
        except OSError:
            # It is gone: the end of its answers says so.
            return


class Workers:
    """Several workers on one list of items.

    Args:
        setup: What each is told at first.
        count: How many at most.

    Raises:
        ScoreError: If the first does not come up: no model, no back end.
    """

    def __init__(self, setup: Setup, count: int) -> None:
        self._setup, self._count = setup, count
        self._selector = selectors.DefaultSelector()
        self._workers: list[WorkerProcess] = []
        try:
            # Started together, so that both load at once.
            for _ in range(count):
                self._start()
            self.model = self._wait_ready()
        except BaseException:
            self.close()
            raise

    def score(
        self,
        orders: Sequence[Order],
        progress: Callable[[Mapping[int, float]], None],
        growing: Callable[[Path], None],
    ) -> Iterator[tuple[Order, Scored]]:
        """Score everything.

        Args:
            orders: What to do, in the order of the rows.
            progress: Called now and then with the share done of each item under way, by its number.
            growing: Called as often with the part file of the item whose turn it is.

        Yields:
            Each item's answer, in the order of the items.

        Raises:
            ScoreError: If the model cannot run any more.
        """
        waiting = list(orders)[::-1]
        done: dict[int, Scored] = {}
        shares: dict[int, float] = {}
        for order in orders:
            while order.number not in done:
                for worker in list(self._workers):
                    if worker.ready and worker.order is None and waiting:
                        worker.give(waiting.pop())
                for scored in self._receive(shares):
                    done[scored.number] = scored
                    shares.pop(scored.number, None)
                progress(shares)
                if order.number not in done:
                    growing(Path(order.part))
                while len(self._workers) < min(self._count, len(waiting) + 1):
                    self._start()
            yield order, done.pop(order.number)

    def close(self) -> None:
        """End every worker."""
        for worker in self._workers:
            self._selector.unregister(worker)
            worker.end()
        self._workers.clear()
        self._selector.close()

    def _start(self) -> None:
        worker = WorkerProcess(self._setup)
        self._workers.append(worker)
        self._selector.register(worker, selectors.EVENT_READ)

    def _wait_ready(self) -> Ready:
        while True:
            for key, _ in self._selector.select(0.5):
                worker: WorkerProcess = key.fileobj  # type: ignore[assignment]
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

    def _receive(self, shares: dict[int, float]) -> Iterator[Scored]:
        for key, _ in self._selector.select(0.5):
            worker: WorkerProcess = key.fileobj  # type: ignore[assignment]
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
                elif isinstance(answer, Scored):
                    worker.order = None
                    yield answer
        for worker in [worker for worker in self._workers if worker.silent]:
            yield from self._lost(worker, f"gave nothing for {SILENT_S:g} s: the decoder hangs on it")

    def _lost(self, worker: WorkerProcess, reason: str) -> Iterator[Scored]:
        """A worker that crashed or hangs takes its item with it, and nothing else."""
        order = worker.order
        self._selector.unregister(worker)
        self._workers.remove(worker)
        worker.end()
        if order is None:
            raise ScoreError(f"a worker ended before it had anything to do: {reason}")
        Path(order.part).write_bytes(b"")
        yield Scored(order.number, 0, (Problem(_name(order.item), reason),))


def _name(item: Item) -> str:
    if item.kind == "video":
        return item.path
    return f"{item.path or item.names[0]} ({len(item.names)} images)"
