"""Interlaced frames made whole: FFmpeg's bwdif, one frame out for each in, progressive ones passed through."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from fractions import Fraction

import av
import av.filter

from stream.camera.video.decoder import Decoded


class Deinterlacer:
    """Takes frames as decoded and gives progressive ones, in order.

    Costs nothing until the first interlaced frame. From then on a frame waits for the next one, which bwdif looks at.
    """

    def __init__(self) -> None:
        self._graph: av.filter.Graph | None = None
        self._shape: tuple[int, int, str] | None = None
        self._waiting: deque[tuple[bool, int | None, Fraction | None]] = deque()

    def feed(self, decoded: Decoded) -> Iterator[Decoded]:
        """Take a frame; gives those that are ready."""
        frame = decoded.frame
        shape = (frame.width, frame.height, frame.format.name)
        if self._graph is not None and shape != self._shape:
            yield from self.flush()
        if self._graph is None:
            if not frame.interlaced_frame:
                yield decoded
                return
            self._open(shape, frame.time_base)
        self._waiting.append((decoded.damaged, frame.pts, frame.time_base))
        yield from self._exchange(frame)

    def flush(self) -> Iterator[Decoded]:
        """Give what waits, after the last frame or before one of another size."""
        if self._graph is not None:
            yield from self._exchange(None)
        self._graph = self._shape = None
        self._waiting.clear()

    def _open(self, shape: tuple[int, int, str], time_base: Fraction | None) -> None:
        width, height, name = shape
        graph = av.filter.Graph()
        graph.threads = 1
        source = graph.add_buffer(
            width=width, height=height, format=av.VideoFormat(name), time_base=time_base or Fraction(1, 90000)
        )
        filtered = graph.add("bwdif", "mode=send_frame:parity=auto:deint=interlaced")
        sink = graph.add("buffersink")
        source.link_to(filtered)
        filtered.link_to(sink)
        with av.logging.Capture():
            graph.configure()
        self._graph, self._shape = graph, shape

    def _exchange(self, frame: av.VideoFrame | None) -> Iterator[Decoded]:
        assert self._graph is not None
        with av.logging.Capture():
            self._graph.push(frame)
            made = []
            while True:
                try:
                    made.append(self._graph.pull())
                except (av.BlockingIOError, av.EOFError):
                    break
        for whole in made:
            assert isinstance(whole, av.VideoFrame)
            damaged, pts, time_base = self._waiting.popleft()
            # The filter counts in half periods; each frame keeps the time it came with.
            whole.pts = pts
            if time_base is not None:
                whole.time_base = time_base
            yield Decoded(whole, damaged)
