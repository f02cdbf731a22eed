"""The other topic: pictures, where the publisher was told to send them (``publish.with_frames``). The newest alone."""

from __future__ import annotations

import math
from pathlib import Path
from types import TracebackType

import zmq

from stream.publish import endpoint as endpoints
from stream.publish.message import MessageError
from stream.publish.wire import Picture, decode_picture
from stream.subscribe.connect import connect


class Pictures:
    """A subscriber of pictures.

    Args:
        endpoint: As for :class:`~stream.subscribe.client.Client`.
        key: Likewise.
        server_key: Likewise.
        source: This source alone; empty for every source of the endpoint.

    Raises:
        EndpointError: Likewise.
    """

    def __init__(
        self, endpoint: str | None = None, key: Path | None = None, server_key: Path | None = None, source: str = ""
    ) -> None:
        self.endpoint = endpoints.parse(endpoint or endpoints.default_connect(source)).uri
        self.bad = 0
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context(io_threads=1)
        topic = f"frames/{source} " if source else "frames/"
        try:
            self._socket = connect(self._context, self.endpoint, [topic.encode()], key, server_key, newest=True)
        except BaseException:
            self._context.term()
            raise

    def receive(self, timeout_s: float | None = None) -> tuple[str, Picture] | None:
        """The newest picture with its source's name, or None if none came in time.

        What is no picture is counted in ``bad`` and passed over.
        """
        if not self._socket.poll(None if timeout_s is None else max(0, math.ceil(timeout_s * 1e3))):
            return None
        head, _, body = self._socket.recv(zmq.NOBLOCK).partition(b" ")
        try:
            return head.decode("utf-8", "replace").partition("/")[2], decode_picture(body)
        except MessageError:
            self.bad += 1
            return None

    def close(self) -> None:
        """Disconnect."""
        self._socket.close(linger=0)
        self._context.term()

    def __enter__(self) -> Pictures:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
