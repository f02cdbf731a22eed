"""What a publisher counts."""

from __future__ import annotations

from dataclasses import dataclass, field

from stream.publish.gate import GateCounts


@dataclass
class PublishCounts:
    """What a publisher did so far.

    Attributes:
        published: Frames handed to ZeroMQ.
        refused: Frames ZeroMQ would not take without waiting.
        subscriptions: Subscriptions seen.
        resent: Status messages sent again for new subscribers.
        gate: Who came, and who was sent away.
    """

    published: int = 0
    refused: int = 0
    subscriptions: int = 0
    resent: int = 0
    gate: GateCounts = field(default_factory=GateCounts)
