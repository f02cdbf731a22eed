"""What a camera counts, and what it says of itself."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class CameraStats:
    """Counts since ``start``.

    Attributes:
        captured: Frames captured.
        delivered: Frames that ``read`` returned.
        dropped: Frames overtaken by a newer one before they were read; exact, from sequence numbers.
        repeated: Frames of a frozen camera, held back.
        reconnects: Times that the source was opened again.
        restarts: Times that the capture process was killed or died, and was replaced.
        fps: Rate that the source declares, frames/s; 0 where unknown.
        width: px, of the newest delivered frame (before the first: as declared).
        height: px.
        message: The last thing that the source said (loss, unusable frame, end), credentials taken out.
    """

    captured: int = 0
    delivered: int = 0
    dropped: int = 0
    repeated: int = 0
    reconnects: int = 0
    restarts: int = 0
    fps: float = 0.0
    width: int = 0
    height: int = 0
    message: str = ""


@dataclass(frozen=True)
class CameraReport:
    """What the camera says of itself, as of its last ``read``.

    Attributes:
        state: One of ``stream.publish.message.REASONS``.
        is_file: Whether it plays a file.
        dropped: Frames overtaken by a newer one before they were read.
        reconnects: Times that the source was opened again.
        fps: Rate that the source declares, frames/s; 0 where unknown.
        message: The last thing that the source said.
    """

    state: str
    is_file: bool = False
    dropped: int = 0
    reconnects: int = 0
    fps: float = 0.0
    message: str = ""
