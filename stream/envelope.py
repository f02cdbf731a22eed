"""Around the faces: sequence numbers, the clocks' identity, the model's. One per process start."""

from __future__ import annotations

import uuid

from stream.camera.frame import Frame
from stream.publish.message import Event, Faces, LatencyMs, Model
from stream.publish.wire import boot_id
from stream.scores.described import FrameResult


class Envelope:
    """Makes whole messages of what frames showed; counts each topic's sequence.

    Args:
        source: The source's name.
        model: Which model makes the scores.

    Attributes:
        unix_error_ns: How far the wall clock may be off, as last heard; None where unknown.
    """

    def __init__(self, source: str, model: Model) -> None:
        self.source, self.model = source, model
        self.session = str(uuid.uuid4())
        self.boot_id = boot_id() or "unknown"
        self._seq = {"faces": 0, "status": 0, "event": 0}
        self.unix_error_ns: int | None = None
        self._last_frame_id = 0

    def next_seq(self, kind: str) -> int:
        """The next sequence number of a topic, from 0."""
        seq = self._seq[kind]
        self._seq[kind] = seq + 1
        return seq

    def faces(
        self,
        frame: Frame,
        result: FrameResult,
        started_ns: int,
        now_ns: int,
        dropped: int,
        rate_hz: float | None,
        degraded: list[str],
    ) -> Faces:
        """The message of a processed frame.

        Args:
            frame: What was processed.
            result: What it showed.
            started_ns: When processing began, CLOCK_MONOTONIC ns.
            now_ns: When it ended and this is published.
            dropped: Frames dropped so far.
            rate_hz: Rate of the source.
            degraded: What runs below its setting beyond what `result` says.
        """
        self._last_frame_id = frame.seq
        height, width = frame.pixels.shape[:2]
        # A file's capture time is its own time line, so its latency counts from the frame's arrival in memory.
        origin_ns = frame.t_arrival_ns if frame.t_capture_src == "file" else frame.t_capture_ns
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
            t_capture_unix_error_ns=None if frame.t_capture_src == "file" else self.unix_error_ns,
            t_capture_src=frame.t_capture_src,
            degraded=sorted({*result.degraded, *degraded}),
            width=width,
            height=height,
            latency_ms=LatencyMs(
                capture=round((started_ns - origin_ns) / 1e6, 2),
                detect=round(result.detect_ms, 2),
                infer=None if result.infer_ms is None else round(result.infer_ms, 2),
                total=round((now_ns - origin_ns) / 1e6, 2),
            ),
            model=self.model,
            faces=result.faces,
        )

    def no_frame(self, reason: str, now_ns: int, dropped: int, rate_hz: float, degraded: list[str]) -> Faces:
        """The message sent while there is no fresh frame; `reason` is the camera's state."""
        return Faces(
            source=self.source,
            session=self.session,
            seq=self.next_seq("faces"),
            frame_id=self._last_frame_id,
            dropped_total=dropped,
            t_publish_ns=now_ns,
            boot_id=self.boot_id,
            valid=False,
            reason=reason,
            rate_hz=rate_hz,
            degraded=degraded,
            model=self.model,
        )

    def event(
        self,
        event: str,
        now_ns: int,
        face: str | None = None,
        onset_ns: int | None = None,
        delay_ms: float | None = None,
    ) -> Event:
        """A hint that something changed; with an onset where that was before it was decided."""
        return Event(
            source=self.source,
            session=self.session,
            seq=self.next_seq("event"),
            boot_id=self.boot_id,
            t_publish_ns=now_ns,
            event=event,
            face=face,
            frame_id=self._last_frame_id,
            t_onset_ns=onset_ns,
            delay_ms=delay_ms,
        )
