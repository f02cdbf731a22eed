"""Videos and folders of frames through the daemon's own pipeline, every frame, as fast as they decode."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO

import msgspec
import numpy as np
from numpy.typing import NDArray

from stream.camera.driver import Opened
from stream.camera.frame import Frame
from stream.camera.recording import Recording
from stream.commands.run import build_pipeline
from stream.config import Settings
from stream.envelope import Envelope
from stream.faces import FaceTracker
from stream.model import LoadedModel
from stream.offline.rows import VideoRow, encode
from stream.pipeline import Seen
from stream.show.overlay.annotate import write_video
from stream.show.overlay.draw import draw
from stream.show.overlay.timeline import save_png, timeline


@dataclass
class VideoResult:
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


Progress = Callable[[VideoResult, Opened], None]
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

    def score(self, path: str, out: BinaryIO, overlays: OverlayFiles, progress: Progress) -> VideoResult:
        """Score a video, writing its rows as it goes.

        Args:
            path: A video or a folder of frames.
            out: Takes lines of JSON.
            overlays: Which pictures to write besides.
            progress: Called after every frame.

        Raises:
            CameraError: If nothing of it can be decoded.
            BackendError: If the back end failed.
            OverlayError: If a picture cannot be written.
        """
        result = VideoResult()
        history: list[dict[str, Any]] = []
        with Recording(path, self._settings.camera) as recording:
            steps = self._steps(path, recording, out, result, progress)
            if overlays.annotated is not None:
                write_video(self._drawn(steps, history), overlays.annotated, recording.opened.fps)
            else:
                for frame, seen in steps:
                    if overlays.timeline is not None:
                        history.append(_moment(frame, seen))
        if overlays.timeline is not None:
            save_png(timeline(history), overlays.timeline)
        if recording.problem is not None:
            result.problem = f"{recording.problem}, their rows are kept"
        return result

    def _steps(
        self, path: str, recording: Recording, out: BinaryIO, result: VideoResult, progress: Progress
    ) -> Iterator[tuple[Frame, Seen]]:
        self._tracker.begin()
        pipeline = build_pipeline(self._settings, self._model, self._tracker)[0]
        for frame in recording:
            seen = pipeline.step(frame)
            t_s = round(frame.t_capture_ns / 1e9, 6)
            for face in seen.faces:
                out.write(encode(VideoRow.of(path, t_s, frame.seq, face)))
            result.frames, result.media_s = frame.seq + 1, t_s
            result.rows += len(seen.faces)
            progress(result, recording.opened)
            yield frame, seen

    def _drawn(self, steps: Iterator[tuple[Frame, Seen]], history: list[dict[str, Any]]) -> Iterator[NDArray[np.uint8]]:
        envelope = Envelope("score", self._model.identity())
        for frame, seen in steps:
            history.append(_moment(frame, seen))
            message = envelope.faces(frame, seen, frame.t_arrival_ns, 0, None, [])
            yield draw(frame.image, msgspec.to_builtins(message))


def _moment(frame: Frame, seen: Seen) -> dict[str, Any]:
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
        for face in seen.faces
    ]
    return {"t_capture_ns": frame.t_capture_ns, "t_publish_ns": frame.t_capture_ns, "valid": True, "faces": faces}
