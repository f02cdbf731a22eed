"""``dfer-stream score``: the offline twin of the daemon. Files in, one row per face and time out."""

from engine.errors import DferError


class ScoreError(DferError):
    """A run of ``score`` that cannot begin or go on; the message carries the remedy."""
