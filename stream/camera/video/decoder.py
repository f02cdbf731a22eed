"""Packets in, frames out, and what went wrong with each: one codec, one thread, never an exception for bad data."""

from __future__ import annotations

import re
from collections import deque
from dataclasses import dataclass

import av
import av.logging

from stream.camera.frame import MAX_FRAME_BYTES
from stream.camera.video.container import first_line

_KEPT = 256
_HARMLESS = re.compile(
    r"mmco: unref short failure|co located POCs|Application provided|deprecated|"
    r"Could not find ref with POC|RASL|skipped|unable to decode APP fields|"
    r"No accelerated|Increasing reorder buffer|SEI type|Hardware accelerated"
)
"""Said of whole streams too, at the level of errors: bookkeeping, and what leads into a stream cut at a key frame."""


@dataclass
class Damage:
    """What could not be read of a stream so far.

    Attributes:
        lost: Packets of which nothing could be decoded.
        damaged: Frames in which the decoder met an error.
        broken: Errors of the container.
        reason: The first thing that the libraries said; empty if nothing.
    """

    lost: int = 0
    damaged: int = 0
    broken: int = 0
    reason: str = ""

    def __bool__(self) -> bool:
        return bool(self.lost or self.damaged or self.broken)

    def note(self, words: str) -> None:
        """Keep the first words."""
        self.reason = self.reason or words


@dataclass(frozen=True, eq=False)
class Decoded:
    """A frame as the codec gave it.

    Attributes:
        frame: Perhaps interlaced.
        damaged: Whether the codec met an error in it.
    """

    frame: av.VideoFrame
    damaged: bool


class Decoder:
    """Decodes the packets of one stream.

    A decoder of one thread says of each packet, while it is in hand, what is wrong with it; the frame that comes of it,
    perhaps later, is known again by its times.

    Args:
        stream: Of an open container.
        joins: Whether it may begin between two key frames, as broadcasts do: what cannot be shown before the first is
            then no damage.
        low_delay: For live streams: hand out each frame as soon as it can be.

    Attributes:
        damage: What could not be read so far.
        refused: Whether nothing could be decoded of the last packet.
    """

    def __init__(self, stream: av.VideoStream, joins: bool, low_delay: bool = False) -> None:
        self.damage, self.refused = Damage(), False
        self._context = stream.codec_context
        self._context.thread_count = 1
        self._context.options = {"max_pixels": str(MAX_FRAME_BYTES // 3)}
        if self._context.width * self._context.height > MAX_FRAME_BYTES // 3:
            # What the first packet declares refuses the codec as a whole; let each frame speak for itself.
            self._context.width = self._context.height = 0
        self._context.flags |= av.codec.context.Flags.output_corrupt
        if low_delay:
            self._context.flags |= av.codec.context.Flags.low_delay
        self._joining = joins
        self._bad: deque[tuple[int | None, int | None]] = deque(maxlen=_KEPT)

    def decode(self, packet: av.Packet[av.VideoStream]) -> list[Decoded]:
        """The frames that a packet completes; an empty packet empties the decoder."""
        key = (packet.pts, packet.dts)
        if packet.is_keyframe and not packet.is_corrupt:
            self._joining = False
        self.refused = False
        with av.logging.Capture() as said:
            try:
                frames = packet.decode()
            except (av.FFmpegError, ValueError, MemoryError) as error:
                frames, self.refused = [], True
                said = self._grave(said) or [(0, "", str(error))]
                if packet.size and not packet.is_discard and not self._joining:
                    self.damage.lost += 1
                    self.damage.note(first_line(said))
        said = self._grave(said)
        if (said or packet.is_corrupt) and packet.size and not packet.is_discard:
            self._bad.append(key)
            if not self._joining:
                self.damage.note(first_line(said) or "the container marks a packet as damaged")
        made = []
        for frame in frames:
            damaged = bool(frame.is_corrupt) or (bool(self._bad) and (frame.pts, frame.dts) in self._bad)
            if damaged and not self._joining:
                self.damage.damaged += 1
                self.damage.note("a frame is marked as damaged")
            made.append(Decoded(frame, damaged))
        return made

    @staticmethod
    def _grave(said: list[tuple[int, str, str]]) -> list[tuple[int, str, str]]:
        return [line for line in said if not _HARMLESS.search(line[2])]
