"""Around the faces: sequence numbers, clocks, the model's identity. One per process start."""

from __future__ import annotations

import time
import uuid

from stream.camera.frame import Frame
from stream.pipeline import Seen
from stream.publish.message import Event, Faces, LatencyMs, Model
from stream.publish.wire import boot_id


class Envelope:
    """Makes whole messages of what frames showed; counts each topic's sequence.

    Args:
        source: The source's name.
        model: Which model makes the scores.
    """

    def __init__(self, source: str, model: Model) -> None:
        self.source, self.model = source, model
        self.session = str(uuid.uuid4())
        self.boot_id = boot_id() or "unknown"
        self._seq = {"faces": 0, "status": 0, "event": 0}
        self._last_frame_id = 0

    def next_seq(self, kind: str) -> int:
        """The next sequence number of a topic, from 0."""
        seq = self._seq[kind]
        self._seq[kind] = seq + 1
        return seq

    def faces(
        self, frame: Frame, seen: Seen, started_ns: int, dropped: int, rate_hz: float | None, degraded: list[str]
    ) -> Faces:
        """The message of a processed frame.

        Args:
            frame: What was processed.
            seen: What it showed.
            started_ns: When processing began, CLOCK_MONOTONIC ns.
            dropped: Frames dropped so far.
            rate_hz: Rate of the source.
            degraded: What runs below its setting beyond what `seen` says.
        """
        self._last_frame_id = frame.seq
        height, width = frame.image.shape[:2]
        now_ns = time.monotonic_ns()
        # A file's capture time is its own time line, so its latency counts from the frame's arrival in memory.
        born_ns = frame.t_arrival_ns if frame.t_capture_src == "file" else frame.t_capture_ns
        return Faces(
            source=self.source,
            session=self.session,
            seq=self.next_seq("faces"),
            frame_id=frame.seq,
            dropped_total=dropped,
            t_publish_ns=now_ns,
            boot_id=self.boot_id,
            valid=True,
            reason="ok",
            rate_hz=rate_hz,
            t_capture_ns=frame.t_capture_ns,
            t_capture_unix_ns=frame.t_capture_unix_ns,
            t_capture_src=frame.t_capture_src,
            degraded=sorted({*seen.degraded, *degraded}),
            width=width,
            height=height,
            latency_ms=LatencyMs(
                capture=round((started_ns - born_ns) / 1e6, 2),
                detect=round(seen.detect_ms, 2),
                infer=None if seen.infer_ms is None else round(seen.infer_ms, 2),
                total=round((now_ns - born_ns) / 1e6, 2),
            ),
            model=self.model,
            faces=seen.faces,
        )

    def no_frame(self, reason: str, dropped: int, rate_hz: float, degraded: list[str]) -> Faces:
        """The message sent while there is no fresh frame; `reason` is the camera's state."""
        return Faces(
            source=self.source,
            session=self.session,
            seq=self.next_seq("faces"),
            frame_id=self._last_frame_id,
            dropped_total=dropped,
            t_publish_ns=time.monotonic_ns(),
            boot_id=self.boot_id,
            valid=False,
            reason=reason,
            rate_hz=rate_hz,
            degraded=degraded,
            model=self.model,
        )

    def event(self, event: str, face: str | None = None) -> Event:
        """A hint that something changed."""
        return Event(
            source=self.source,
            session=self.session,
            seq=self.next_seq("event"),
            boot_id=self.boot_id,
            t_publish_ns=time.monotonic_ns(),
            event=event,
            face=face,
            frame_id=self._last_frame_id,
        )
