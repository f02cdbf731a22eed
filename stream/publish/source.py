"""One source of a publisher that has several: its topics, and what it sent of them."""

from __future__ import annotations

from stream.publish.publisher import PublishCounts, Publisher
from stream.publish.rules import check_source
from stream.publish.wire import encode_picture, topic


class SourcePublisher:
    """Sends a source's messages through a publisher of several; otherwise as :class:`Publisher`.

    Args:
        publisher: Bound.
        source: The source's name in topics.

    Raises:
        MessageError: If the name cannot be used.
    """

    def __init__(self, publisher: Publisher, source: str) -> None:
        self.source = check_source(source)
        self._publisher = publisher
        self._topics = {kind: topic(kind, source) for kind in ("faces", "status", "event", "frames")}
        # Who came and who was sent away concerns the endpoint, not one source of it.
        self.counts = PublishCounts(gate=publisher.counts.gate)

    @property
    def endpoint(self) -> str:
        """Where it is published."""
        return self._publisher.endpoint

    def faces(self, body: bytes) -> bool:
        """Send a ``faces`` body; false if it was refused. Never waits."""
        return self._send("faces", body)

    def event(self, body: bytes) -> bool:
        """Send an ``event`` body; false if it was refused. Never waits."""
        return self._send("event", body)

    def status(self, body: bytes) -> bool:
        """Send a ``status`` body and keep it for new subscribers; false if it was refused. Never waits."""
        return self._send("status", body)

    def picture(self, jpeg: bytes, frame_id: int) -> bool:
        """Send a JPEG on ``frames/<source>``, if that was asked for by name; as :meth:`Publisher.picture`.

        Raises:
            PermissionError: If it was not.
        """
        self._publisher.check_pictures()
        return self._send("frames", encode_picture(jpeg, frame_id))

    def serve(self) -> None:
        """Answer new subscribers."""
        self._publisher.serve()

    def _send(self, kind: str, body: bytes) -> bool:
        sent = self._publisher.forward(self._topics[kind] + body)
        if sent:
            self.counts.published += 1
        else:
            self.counts.refused += 1
        return sent
