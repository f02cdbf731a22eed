"""The other topic: pictures, where the publisher was told to send them (``publish.with_frames``). The newest alone."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType

from stream.publish.message import MessageError
from stream.publish.wire import Picture, decode_picture
from stream.subscribe.client import Subscription

_TOPIC = "frames"


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
        self.bad = 0
        self._subscription = Subscription(endpoint, _TOPIC, source, True, key, server_key)

    def receive(self, timeout_s: float | None = None) -> tuple[str, Picture] | None:
        """The newest picture with its source's name, or None if none came in time.

        What is no picture is counted in ``bad`` and passed over.
        """
        data = self._subscription.receive(timeout_s)
        if data is None:
            return None
        head, _, body = data.partition(b" ")
        try:
            return head.decode("utf-8", "replace").partition("/")[2], decode_picture(body)
        except MessageError:
            self.bad += 1
            return None

    def close(self) -> None:
        """Disconnect."""
        self._subscription.close()

    def __enter__(self) -> Pictures:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
