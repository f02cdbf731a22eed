"""A publisher in this process, at a rate, whose messages a test can count and change."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path

from msgspec.structs import replace

from stream.publish.message import Event, Face, Faces
from stream.publish.publisher import Publisher
from stream.publish.wire import boot_id, encode
from tests.subscribers.feed import face, faces, status


class Playing:
    """Plays a daemon: `faces` at a rate, `status` ten times a second, events on demand.

    Args:
        folder: For the socket.
        source: The source's name.
        hz: Of `faces`.
    """

    def __init__(self, folder: Path, source: str = "cam1", hz: float = 30.0) -> None:
        self.source, self.hz, self.session = source, hz, "session-1"
        self.going, self.quiet = True, False
        self.sent: list[Faces] = []
        self.events: list[Event] = []
        self._asked: list[str] = []
        self._faces: Callable[[int], list[Face]] = lambda seq: [face(seq)]
        self._publisher = Publisher(source, f"ipc://{folder}/{source}.ipc")
        self.endpoint = self._publisher.endpoint
        self._thread = threading.Thread(target=self._play, daemon=True)
        self._thread.start()

    def show(self, faces_of: Callable[[int], list[Face]]) -> None:
        """From now on these faces, by sequence number."""
        self._faces = faces_of

    def say(self, event: str) -> None:
        """Publish an event soon."""
        self._asked.append(event)

    def close(self) -> None:
        self.going = False
        self._thread.join()

    def _play(self) -> None:
        seq, pause, due_s = 0, threading.Event(), time.monotonic()
        with self._publisher as publisher:
            while self.going:
                seq += 1
                due_s += 1 / self.hz
                pause.wait(max(due_s - time.monotonic(), 0))
                publisher.serve()
                if self.quiet:
                    continue
                message = replace(faces(self.source, self.session, seq, self.hz), faces=self._faces(seq))
                if not message.valid:
                    message = replace(message, faces=[])
                publisher.faces(encode(message))
                self.sent.append(message)
                if seq % max(int(self.hz / 10), 1) == 0:
                    publisher.status(encode(status(self.source, self.session, seq, self.hz)))
                if self._asked:  # one at a time: a burst beyond the publisher's mark is lost by design
                    event = Event(
                        source=self.source, session=self.session, seq=len(self.events), boot_id=boot_id(),
                        t_publish_ns=time.monotonic_ns(), event=self._asked.pop(0), face="f1",
                    )  # fmt: skip
                    self.events.append(event)
                    publisher.event(encode(event))
