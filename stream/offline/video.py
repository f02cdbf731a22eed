"""Videos and folders of frames through the daemon's own pipeline, every frame, as fast as they decode."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO

import msgspec
import numpy as np
from numpy.typing import NDArray

from stream.assemble import LoadedModel, build_pipeline
from stream.camera.driver import Opened
from stream.camera.frame import Frame
from stream.camera.recording import Recording
from stream.config import Settings
from stream.envelope import Envelope
from stream.faces import FaceTracker
from stream.offline.rows import VideoRow, encode
from stream.scores.described import FrameResult
from stream.show.overlay.annotate import write_video
from stream.show.overlay.draw import draw
from stream.show.overlay.pace import paced
from stream.show.overlay.timeline import save_png, timeline


@dataclass
class VideoSummary:
    """What came of a video.

    Attributes:
        frames: Decoded.
        rows: Written.
        media_s: Time of the last frame, s from the first.
        problem: Why it is not whole; None if it is.
    """

    frames: int = 0
    rows: int = 0
    media_s: float = 0.0
    problem: str | None = None


@dataclass(frozen=True)
class OverlayFiles:
    """Which pictures of a video to write besides its rows.

    Attributes:
        annotated: An ``.mp4`` with boxes and bars; None for none.
        timeline: A ``.png`` of the primary face's scores over time; None for none.
    """

    annotated: Path | None = None
    timeline: Path | None = None


Steps = Iterator[tuple[Frame, FrameResult]]
Progress = Callable[[VideoSummary, Opened], None]
"""Takes what came of a video so far and what the file declares."""


class VideoScorer:
    """Scores one video after the other.

    Args:
        model: Open.
        settings: Of this machine; the camera's ``every_frame`` is on.
        tracker: Begun anew for every video.
    """

    def __init__(self, model: LoadedModel, settings: Settings, tracker: FaceTracker) -> None:
        self._model, self._tracker = model, tracker
        self._settings = replace(settings, camera=replace(settings.camera, every_frame=True))

    def score(
        self, path: str, out: BinaryIO, overlays: OverlayFiles, progress: Progress, name: str | None = None
    ) -> VideoSummary:
        """Score a video, writing its rows as it goes.

        Args:
            path: A video or a folder of frames.
            out: Takes lines of JSON.
            overlays: Which pictures to write besides.
            progress: Called after every frame.
            name: What its rows call it, where it is a copy; else the path.

        Raises:
            CameraError: If nothing of it can be decoded.
            BackendError: If the back end failed.
            OverlayError: If a picture cannot be written.
        """
        summary = VideoSummary()
        history: list[dict[str, Any]] = []
        with Recording(path, self._settings.camera) as recording:
            steps = self._steps(name or path, recording, out, summary, progress)
            if overlays.annotated is not None:
                fps = recording.opened.fps if 1 <= recording.opened.fps <= 240 else 25.0
                write_video(paced(self._drawn(steps, history), fps), overlays.annotated, fps)
            else:
                for frame, result in steps:
                    if overlays.timeline is not None:
                        history.append(_moment(frame, result))
        if overlays.timeline is not None:
            save_png(timeline(history), overlays.timeline)
        if recording.problem is not None:
            summary.problem = f"{recording.problem}, their rows are kept"
        return summary

    def _steps(
        self, path: str, recording: Recording, out: BinaryIO, summary: VideoSummary, progress: Progress
    ) -> Steps:
        self._tracker.begin()
        pipeline = build_pipeline(self._settings, self._model, self._tracker)
        for frame in recording:
            result = pipeline.step(frame)
            t_s = round(frame.t_capture_ns / 1e9, 6)
            for face in result.faces:
                out.write(encode(VideoRow.of(path, t_s, frame.seq, face)))
            summary.frames, summary.media_s = frame.seq + 1, t_s
            summary.rows += len(result.faces)
            progress(summary, recording.opened)
            yield frame, result

    def _drawn(self, steps: Steps, history: list[dict[str, Any]]) -> Iterator[tuple[int, NDArray[np.uint8]]]:
        envelope = Envelope("score", self._model.identity())
        for frame, result in steps:
            history.append(_moment(frame, result))
            message = envelope.faces(frame, result, frame.t_arrival_ns, time.monotonic_ns(), 0, None, [])
            yield frame.t_capture_ns, draw(frame.image, msgspec.to_builtins(message))


def _moment(frame: Frame, result: FrameResult) -> dict[str, Any]:
    """What a timeline needs of a frame; far less than the message, of which a long video has many."""
    faces = [
        {
            "id": face.id,
            "state": face.state,
            "primary": face.primary,
            "smoothed": face.smoothed or face.probs,
            "label": face.label,
            "ready": face.ready,
        }
        for face in result.faces
    ]
    return {"t_capture_ns": frame.t_capture_ns, "t_publish_ns": frame.t_capture_ns, "valid": True, "faces": faces}
