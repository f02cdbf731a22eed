"""Where messages go besides ZeroMQ: a line of JSON, the terminal, a window, a log. Each sees what was published."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable
from typing import Protocol, TextIO

import cv2

from engine.text import printable_json, say
from stream.camera.frame import Frame
from stream.publish.message import Event, Faces, Message, Status
from stream.publish.publisher import Publisher
from stream.publish.source import SourcePublisher


class Sink(Protocol):
    """Takes every message in the order it was published."""

    def take(self, message: Message, body: bytes, frame: Frame | None) -> bool:
        """Take a message.

        Args:
            message: What was published.
            body: Its JSON body.
            frame: The frame it speaks of, for ``faces`` of a live frame.

        Returns:
            False where the person watching asked to stop.
        """

    def close(self) -> None:
        """Leave terminal, window or file as they should be."""


class JsonLines:
    """One line of JSON per message on standard output.

    Args:
        every_kind: Print ``status`` and ``event`` bodies too; else ``faces`` only.
        out: Where to.
    """

    def __init__(self, every_kind: bool = False, out: TextIO | None = None) -> None:
        self._every_kind, self._out = every_kind, out or sys.stdout

    def take(self, message: Message, body: bytes, frame: Frame | None) -> bool:
        """Print the body; a reader that went away ends the run."""
        if not self._every_kind and not isinstance(message, Faces):
            return True
        try:
            self._out.write(printable_json(body) + "\n")
            self._out.flush()
        except (BrokenPipeError, ValueError):
            return False
        return True

    def close(self) -> None:
        """Flush what is left, if anyone still reads."""
        with contextlib.suppress(OSError, ValueError):
            self._out.flush()


class JpegFrames:
    """Small JPEG frames on the publisher's own topic; made only where ``publish.with_frames`` asks for them by name.

    Args:
        publisher: Bound, with frames allowed.
        width: Most of the pictures, px; smaller frames keep their size.
        hz: Most pictures per second.
        now_ns: Clock, CLOCK_MONOTONIC ns.
    """

    def __init__(
        self,
        publisher: Publisher | SourcePublisher,
        width: int = 640,
        hz: float = 15.0,
        now_ns: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        self._publisher, self._now_ns = publisher, now_ns
        self._due_ns = 0
        self.change(width, hz)

    def change(self, width: int, hz: float) -> None:
        """Go on with other pictures."""
        self._width, self._period_ns = width, int(1e9 / hz)

    def take(self, message: Message, body: bytes, frame: Frame | None) -> bool:
        """Publish the frame if one is due."""
        now_ns = self._now_ns()
        if frame is None or now_ns < self._due_ns:
            return True
        # From when it was due, not from when it came: else a camera's pace and this one beat against each other.
        self._due_ns = max(self._due_ns + self._period_ns, now_ns - self._period_ns // 2)
        height, width, _ = frame.pixels.shape
        scale = min(1.0, self._width / width)
        small = frame.pixels.shrunk(0, 0, width, height, (round(width * scale), round(height * scale)))
        made, jpeg = cv2.imencode(".jpg", cv2.cvtColor(small, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, 80])
        if made:
            self._publisher.picture(jpeg.tobytes(), frame.seq)
        return True

    def close(self) -> None:
        """Nothing to undo."""


class Log:
    """Structured lines for a service's journal: changes when they happen, health every so often.

    Args:
        every_s: Between two lines of health, s.
        out: Where to.
        now_ns: Clock, CLOCK_MONOTONIC ns.
    """

    def __init__(
        self, every_s: float = 30.0, out: TextIO | None = None, now_ns: Callable[[], int] = time.monotonic_ns
    ) -> None:
        self._every_ns, self._now_ns = int(every_s * 1e9), now_ns
        self._out = out or sys.stderr
        self._said: dict[str, tuple[str, int]] = {}

    def take(self, message: Message, body: bytes, frame: Frame | None) -> bool:
        """Log events as they come, status when it changes or is due."""
        if isinstance(message, Event):
            log_line(message.event, self._out, source=message.source, face=message.face, frame=message.frame_id)
        elif isinstance(message, Status):
            now_ns = self._now_ns()
            state = f"{message.state}/{message.camera}"
            before, last_ns = self._said.get(message.source, ("", 0))
            if state != before or now_ns - last_ns >= self._every_ns:
                self._said[message.source] = state, now_ns
                log_line(
                    "status",
                    self._out,
                    source=message.source,
                    state=message.state,
                    camera=message.camera,
                    fps_in=message.rate_in_hz,
                    fps_out=message.rate_out_hz,
                    dropped=message.dropped_total,
                    memory_mb=message.memory_mb,
                    subscribers=message.subscribers,
                    sent_away=message.sent_away_total or None,
                    degraded=",".join(message.degraded) or None,
                    note=message.note,
                )
        return True

    def close(self) -> None:
        """Nothing to undo."""


def log_line(event: str, out: TextIO | None = None, **values: object) -> None:
    """One line of ``key=value``; values with spaces are quoted, those that are None left out. It never fails."""
    parts = [f"event={event}"]
    for key, value in values.items():
        if value is not None:
            text = f"{value:g}" if isinstance(value, float) else str(value)
            plain = text.isprintable() and text and not any(c in text for c in ' "=')
            parts.append(f"{key}={text}" if plain else f'{key}="{_escape(text)}"')
    # A full disk under the log is no reason to stop publishing.
    with contextlib.suppress(OSError, ValueError):
        say(" ".join(parts), out)


def _escape(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", " ")
