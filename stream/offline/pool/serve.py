"""A worker's own end: orders on standard input, answers on standard output, lines of JSON both ways.

A process of its own, because a decoder that meets a broken file may crash or hang for ever, and may write to the
terminal; and because two of them use two cores. It ends when standard input does.
"""

from __future__ import annotations

import os
import queue
import signal
import sys
import threading
from collections.abc import Callable

import msgspec

from engine.errors import DferError
from engine.heap import keep_freed
from stream.offline.pool.protocol import Refused

Answer = Callable[[msgspec.Struct], None]
Work = Callable[[bytes], msgspec.Struct]


def serve(begin: Callable[[bytes, Answer], Work]) -> int:
    """Work until standard input ends.

    Args:
        begin: Takes the set-up (the first line) and where answers go; answers ``Ready``, gives what does one order.

    Returns:
        The exit code: 2 where nothing can be done here.
    """
    # Ctrl-C goes to every process of a terminal; the parent decides.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    answers = os.fdopen(os.dup(1), "wb", buffering=0)
    keep_freed()
    # Whatever a library prints must not mix with the answers.
    os.dup2(2, 1)
    orders: queue.Queue[bytes] = queue.Queue()

    def listen() -> None:
        for line in sys.stdin.buffer:
            orders.put(line)
        # The parent is gone, or has no more work: either way nobody waits for what is in hand.
        os._exit(0)

    threading.Thread(target=listen, name="orders", daemon=True).start()

    def answer(message: msgspec.Struct) -> None:
        answers.write(msgspec.json.encode(message) + b"\n")

    try:
        work = begin(orders.get(), answer)
        while True:
            answer(work(orders.get()))
    except DferError as error:
        answer(Refused(" ".join(str(error).split())))
        return 2
    except OSError as error:
        answer(Refused(f"what was made cannot be written: {error.strerror or error}"))
        return 2
