"""A video file from its first picture to its last, whatever lies between them."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from fractions import Fraction
from pathlib import Path
from typing import cast

import av
import av.logging

from stream.camera.video.clock import FrameClock, nanoseconds
from stream.camera.video.container import (
    declared_fps,
    declared_s,
    first_line,
    open_file,
    period_ns,
    picture_stream,
    pixel_aspect,
)
from stream.camera.video.decoder import Damage, Decoded, Decoder
from stream.camera.video.deinterlace import Deinterlacer
from stream.camera.video.extent import missing_bytes
from stream.camera.video.info import VideoInfo
from stream.camera.video.picture import Picture, PictureMaker, orientation, square

_MOST_FAULTS = 4096
"""Errors of the container in a row, without a packet between them, before the rest is given up."""
_JOINS = ("mpegts", "mpeg", "h264", "hevc", "mpegvideo", "m4v", "vc1", "obu")
"""Formats without an index, which may begin in mid-stream."""
_NO_PRESENTATION = ("avi",)
"""Formats that only say when a frame is decoded; what FFmpeg makes of that is wrong where frames are reordered."""


class VideoReader:
    """One run through a video file.

    Damage ends nothing: what cannot be decoded is left out and counted, and reading goes on behind it.

    Args:
        path: The file; what it is, is judged by its content.

    Attributes:
        info: What the file declares.
        period_ns: How long a picture lasts where nothing says so, ns.

    Raises:
        CameraError: If it is no video that can be read.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._container = open_file(path)
        try:
            self._stream = picture_stream(self._container, str(path))
        except BaseException:
            self._container.close()
            raise
        kind = self._container.format.name.split(",")[0]
        self._decoder = Decoder(self._stream, joins=kind in _JOINS)
        self._deinterlacer = Deinterlacer()
        self._maker = PictureMaker()
        self.period_ns = period_ns(self._stream)
        self._clock = FrameClock(self.period_ns, by_decoding=kind in _NO_PRESENTATION)
        self._frames = self._decode()
        self._first: Decoded | None = next(self._frames, None)
        self._current: Decoded | None = None
        self._t_ns = -1
        self.info = self._declared()

    @property
    def damage(self) -> Damage:
        """What could not be read so far."""
        return self._decoder.damage

    def advance(self) -> int | None:
        """Go to the next picture; gives its time from the first, ns, None after the last. Costs its decoding alone."""
        taken, self._first = self._first, None
        self._current = taken or next(self._frames, None)
        self._t_ns = -1 if self._current is None else self._clock.step(self._current.frame)
        return None if self._current is None else self._t_ns

    def picture(self) -> Picture:
        """Make the picture that :meth:`advance` went to.

        Raises:
            FrameLost: If it is over the limit of size; the one after it may not be.
        """
        assert self._current is not None
        image = self._maker.pixels(self._current.frame, pixel_aspect(self._stream))
        return Picture(image, self._t_ns, self._current.damaged)

    def next(self) -> Picture | None:
        """Go to the next picture and make it; None after the last. Raises as :meth:`picture`."""
        return None if self.advance() is None else self.picture()

    def problem(self) -> str | None:
        """Why the file is not whole, as far as it has been read; None while nothing is known to be wrong."""
        parts = []
        if missing := missing_bytes(self._path):
            parts.append(f"cut short: {missing} bytes are missing at its end")
        if damage := self.damage:
            lost = damage.lost + damage.broken
            # Packets of which the container kept nothing at all are in neither number.
            many = f"{damage.damaged} damaged frames" + (f", {lost} packets that gave none" if lost else "")
            said = f" (the decoder says: {damage.reason})" if damage.reason else ""
            parts.append(f"damaged: {many}{said}")
        return "; ".join(parts) or None

    def close(self) -> None:
        """Release the file."""
        self._frames.close()
        self._container.close()

    def _declared(self) -> VideoInfo:
        width, height = self._stream.width, self._stream.height
        if self._first is not None:
            width, height = self._first.frame.width, self._first.frame.height
        width, height = square(width, height, pixel_aspect(self._stream))
        if self._first is not None and orientation(self._first.frame).swaps:
            width, height = height, width
        return VideoInfo(width, height, declared_fps(self._stream), declared_s(self._container, self._stream))

    def _decode(self) -> Generator[Decoded]:
        for packet in self._packets():
            frames = self._decoder.decode(packet)
            if not self._decoder.refused:
                self._clock.packet(packet)
            for decoded in frames:
                yield from self._deinterlacer.feed(decoded)
        yield from self._deinterlacer.flush()

    def _empty(self) -> av.Packet[av.VideoStream]:
        """A packet that empties the decoder."""
        packet = cast("av.Packet[av.VideoStream]", av.Packet())
        packet.stream = self._stream
        packet.time_base = self._stream.time_base or Fraction(1, 1_000_000)
        return packet

    def _packets(self) -> Iterator[av.Packet[av.VideoStream]]:
        """Every packet of the stream, the one that empties the decoder last; reading goes on behind an error."""
        faults = 0
        while True:
            packets = self._container.demux(self._stream)
            while True:
                with av.logging.Capture() as said:
                    try:
                        packet = next(packets, None)
                    except IndexError:
                        # PyAV empties decoders of streams that were not there when it began (a damaged program table).
                        packet = self._empty()
                    except (av.FFmpegError, OSError, ValueError) as error:
                        faults += 1
                        self.damage.broken += 1
                        self.damage.note(first_line(said) or str(error))
                        break
                if packet is None:
                    return
                yield packet
                if not packet.size:
                    return
                faults = 0
            if faults >= _MOST_FAULTS:
                yield self._empty()
                return


def shown_times(path: Path) -> list[int]:
    """When a file's pictures are shown, ns from the first, rising, by its packets alone; those hidden are left out.

    Raises:
        CameraError: If it is no video that can be read.
    """
    stamps: list[int] = []
    container = open_file(path)
    try:
        stream = picture_stream(container, str(path))
        base, period = stream.time_base, period_ns(stream)
        try:
            with av.logging.Capture():
                for packet in container.demux(stream):
                    stamp = packet.pts if packet.pts is not None else packet.dts
                    if packet.size and not packet.is_discard:
                        stamps.append(nanoseconds(stamp, base) if stamp is not None and base else len(stamps) * period)
        except (av.FFmpegError, OSError):
            # What was there before counts; decoding will tell about the rest.
            pass
    finally:
        container.close()
    stamps.sort()
    return [stamp - stamps[0] for stamp in stamps]
