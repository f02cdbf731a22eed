"""Everything a message goes to: the socket, then whoever watches here."""

from __future__ import annotations

from collections.abc import Sequence

from stream.camera.frame import Frame
from stream.publish.message import Faces, Message, Status
from stream.publish.publisher import PublishCounts, Publisher
from stream.publish.source import SourcePublisher
from stream.publish.wire import encode
from stream.show.sinks import Sink


class Outputs:
    """The publisher and the sinks as one.

    Args:
        publisher: Bound.
        sinks: Who else sees the messages, in this order.
    """

    def __init__(self, publisher: Publisher | SourcePublisher, sinks: Sequence[Sink] = ()) -> None:
        self._publisher, self._sinks = publisher, sinks

    @property
    def endpoint(self) -> str:
        """Where the messages are published."""
        return self._publisher.endpoint

    @property
    def counts(self) -> PublishCounts:
        """What was published so far."""
        return self._publisher.counts

    def send(self, message: Message, frame: Frame | None = None) -> bool:
        """Publish and show a message. Never waits for a subscriber.

        Args:
            message: What to send.
            frame: The frame that the step took; only sinks of ``faces`` get it.

        Returns:
            False where a person watching asked to stop.
        """
        body = encode(message)
        if isinstance(message, Faces):
            self._publisher.faces(body)
        elif isinstance(message, Status):
            self._publisher.status(body)
        else:
            self._publisher.event(body)
        shown = frame if isinstance(message, Faces) else None
        # Every sink gets it, whatever the one before says.
        return all([sink.take(message, body, shown) for sink in self._sinks])  # noqa: C419

    def serve(self) -> None:
        """Answer new subscribers."""
        self._publisher.serve()
