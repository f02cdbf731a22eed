"""Videos and folders of frames through the daemon's own pipeline, every frame, as fast as they decode."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO

import cv2
import msgspec
import numpy as np
from numpy.typing import NDArray

from stream.assemble import LoadedModel, build_pipeline
from stream.camera.driver import Driver, Opened, SourceEnded, to_rgb
from stream.camera.drivers import open_driver
from stream.camera.frame import CameraError, Frame
from stream.camera.settings import CameraSettings
from stream.camera.uri import SourceUri
from stream.config import Settings
from stream.envelope import Envelope
from stream.faces import FaceTracker
from stream.offline.rows import VideoRow, encode
from stream.pipeline import FrameResult
from stream.show.overlay.annotate import write_video
from stream.show.overlay.draw import draw
from stream.show.overlay.timeline import save_png, timeline

_BROKEN = (CameraError, cv2.error, OSError, ValueError, MemoryError)
"""What a decoder that meets a damaged file raises."""


@dataclass
class Watched:
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
class Pictures:
    """What to draw besides.

    Attributes:
        annotated: An ``.mp4`` with boxes and bars; None for none.
        timeline: A ``.png`` of the primary face's scores over time; None for none.
    """

    annotated: Path | None = None
    timeline: Path | None = None


Steps = Iterator[tuple[Frame, FrameResult]]
Progress = Callable[[Watched, Opened], None]
"""Takes what came of a video so far and what the file declares."""


class VideoFrames:
    """The frames of a file as the daemon gets them with ``--every-frame``, decoded one ahead.

    Iterating never raises for a damaged file: it ends, and :attr:`problem` says why.

    Args:
        path: A video or a folder of frames.
        settings: The camera's; ``fps`` is the rate of a folder of frames.

    Raises:
        CameraError: If nothing of it can be decoded.
    """

    def __init__(self, path: str, settings: CameraSettings) -> None:
        self.problem: str | None = None
        self.decoded = 0
        self._driver: Driver = open_driver(SourceUri("file", path, path), replace(settings, loop=False, driver=None))
        try:
            self.opened: Opened = self._driver.open()
        except BaseException:
            self._driver.close()
            raise

    def __iter__(self) -> Iterator[Frame]:
        with ThreadPoolExecutor(1, "decode") as decoder:
            ahead = decoder.submit(self._next)
            while True:
                try:
                    frame = ahead.result()
                except SourceEnded:
                    self._judge_end()
                    return
                except _BROKEN as error:
                    self.problem = f"broken after {self.decoded} frames: {' '.join(str(error).split())}"
                    return
                self.decoded += 1
                ahead = decoder.submit(self._next)
                yield frame

    def close(self) -> None:
        """Release the file."""
        self._driver.close()

    def _next(self) -> Frame:
        raw = self._driver.read()
        image = np.empty((*raw.image.shape[:2], 3), np.uint8)
        to_rgb(raw, image)
        return Frame(image, self.decoded, raw.t_ns, 0, "file", time.monotonic_ns())

    def _judge_end(self) -> None:
        declared = self.opened.frames
        # Some containers only estimate their count; all 13 clips this was tried on state it exactly.
        if declared - self.decoded > max(2, declared // 100):
            self.problem = f"cut short: {self.decoded} of {declared} frames could be read, their rows are kept"


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

    def score(self, path: str, out: BinaryIO, pictures: Pictures, progress: Progress) -> Watched:
        """Score a video, writing its rows as it goes.

        Args:
            path: A video or a folder of frames.
            out: Takes lines of JSON.
            pictures: What to draw besides.
            progress: Called after every frame.

        Raises:
            CameraError: If nothing of it can be decoded.
            BackendError: If the back end failed.
            OverlayError: If a picture cannot be written.
        """
        frames = VideoFrames(path, self._settings.camera)
        watched = Watched()
        history: list[dict[str, Any]] = []
        try:
            steps = self._steps(path, frames, out, watched, progress)
            if pictures.annotated is not None:
                fps = frames.opened.fps
                write_video(self._drawn(steps, history), pictures.annotated, fps if 1 <= fps <= 240 else 25.0)
            else:
                for frame, result in steps:
                    if pictures.timeline is not None:
                        history.append(_moment(frame, result))
        finally:
            frames.close()
        if pictures.timeline is not None:
            save_png(timeline(history), pictures.timeline)
        watched.problem = frames.problem
        return watched

    def _steps(self, path: str, frames: VideoFrames, out: BinaryIO, watched: Watched, progress: Progress) -> Steps:
        self._tracker.begin()
        pipeline = build_pipeline(self._settings, self._model, self._tracker)
        for frame in frames:
            result = pipeline.step(frame)
            t_s = round(frame.t_capture_ns / 1e9, 6)
            for face in result.faces:
                out.write(encode(VideoRow.of(path, t_s, frame.seq, face)))
            watched.frames, watched.media_s = frame.seq + 1, t_s
            watched.rows += len(result.faces)
            progress(watched, frames.opened)
            yield frame, result

    def _drawn(self, steps: Steps, history: list[dict[str, Any]]) -> Iterator[NDArray[np.uint8]]:
        envelope = Envelope("score", self._model.identity())
        for frame, result in steps:
            history.append(_moment(frame, result))
            message = envelope.faces(frame, result, frame.t_arrival_ns, time.monotonic_ns(), 0, None, [])
            yield draw(frame.image, msgspec.to_builtins(message))


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
