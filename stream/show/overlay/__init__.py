"""Pictures of what the daemon publishes: drawn from messages, so any subscriber that has the frames can draw them."""

from engine.errors import DferError


class OverlayError(DferError):
    """A picture or window that cannot be made; the message carries the remedy."""
