"""Write a video with what was published about it drawn in.

``python -m stream.show.overlay.annotate VIDEO RUN.jsonl OUT.mp4``, where ``RUN.jsonl`` is
what ``dfer-stream run --source file://VIDEO --every-frame --json`` printed.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from engine.console import Exit, guarded
from engine.files import replace_file
from stream.camera.recording import Recording
from stream.show.overlay import OverlayError
from stream.show.overlay.draw import draw
from stream.subscribe.meter import Measured, StreamMeter

Image = NDArray[np.uint8]


def read_messages(path: Path) -> list[dict[str, Any]]:
    """The ``faces/`` bodies of a recorded run, one JSON object per line.

    Raises:
        OverlayError: If a line is not one.
    """
    found = []
    try:
        rows = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise OverlayError(f"{path}: cannot be read as text: {error}") from error
    for number, row in enumerate(rows, 1):
        if not row.strip():
            continue
        try:
            body = json.loads(row)
        except json.JSONDecodeError as error:
            raise OverlayError(f"{path}:{number}: not a line of JSON: {error.msg}") from error
        if isinstance(body, dict) and str(body.get("schema", "")).startswith("dfer.faces/"):
            found.append(body)
    if not found:
        raise OverlayError(f"{path}: no faces message", "record one with 'dfer-stream run --source ... --json'")
    return found


@dataclass(frozen=True, eq=False)
class PairedFrame:
    """A frame with what was published about it.

    Attributes:
        image: ``(H, W, 3)`` uint8 RGB.
        message: The decoded ``faces/`` body; None before the first.
        measured: What the messages so far measured.
    """

    image: Image
    message: Mapping[str, Any] | None
    measured: Measured


def paired(frames: Iterable[Image], messages: Iterable[Mapping[str, Any]]) -> Iterator[PairedFrame]:
    """Each frame with its message; a frame that was dropped keeps the message before it.

    Args:
        frames: RGB frames, the first being ``frame_id`` 0.
        messages: Decoded ``faces/`` bodies in the order of publishing.
    """
    meter = StreamMeter()
    waiting = iter(messages)
    following = next(waiting, None)
    current: Mapping[str, Any] | None = None
    measured = meter.measured
    for number, image in enumerate(frames):
        while following is not None and int(following.get("frame_id") or 0) <= number:
            # The message that ends a file says nothing about its last frame.
            if following.get("reason") != "ended":
                current, measured = following, meter.step(following)
            following = next(waiting, None)
        yield PairedFrame(image, current, measured)


def annotated(frames: Iterable[Image], messages: Iterable[Mapping[str, Any]]) -> Iterator[Image]:
    """Draw each frame's message onto it; frames and messages as in :func:`paired`.

    Yields:
        ``(H, W, 3)`` uint8 RGB, one per frame; as it came before the first message.
    """
    for frame in paired(frames, messages):
        yield frame.image if frame.message is None else draw(frame.image, frame.message, frame.measured)


def write_video(pictures: Iterable[Image], out: Path, fps: float) -> int:
    """Write pictures as MPEG-4; the file appears whole or not at all.

    Args:
        pictures: ``(H, W, 3)`` uint8 RGB, all of one size.
        out: Where to, ending in ``.mp4``.
        fps: Frames per second; 25 where this is not in [1, 240].

    Returns:
        How many were written.

    Raises:
        OverlayError: If there are none, or the file cannot be written.
    """
    if out.suffix.lower() != ".mp4":
        raise OverlayError(f"{out}: the video's name must end in .mp4")
    if not out.absolute().parent.is_dir():
        raise OverlayError(f"{out}: cannot be written: the folder does not exist", "make it, or name another file")
    count, fps = 0, fps if 1 <= fps <= 240 else 25.0

    def write(temporary: Path) -> None:
        nonlocal count
        writer: cv2.VideoWriter | None = None
        try:
            for picture in pictures:
                if writer is None:
                    size = (picture.shape[1], picture.shape[0])
                    writer = cv2.VideoWriter(str(temporary), cv2.VideoWriter.fourcc(*"mp4v"), fps, size)
                    if not writer.isOpened():
                        raise OverlayError(f"{out}: cannot be written", "check the folder")
                writer.write(cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))
                count += 1
            if writer is None:
                raise OverlayError(f"{out}: there was no frame to write")
        finally:
            if writer is not None:
                writer.release()

    replace_file(out, write)
    return count


def annotate_file(video: Path, run: Path, out: Path) -> int:
    """Annotate a video file with a recorded run of it; returns the number of frames.

    Raises:
        DferError: If one of the files cannot be read or written.
    """
    messages = read_messages(run)
    with Recording(str(video)) as recording:
        images = (frame.image for frame in recording)
        return write_video(annotated(images, messages), out, recording.opened.fps)


def main() -> int:
    """Command line."""
    parser = argparse.ArgumentParser(prog="python -m stream.show.overlay.annotate", description=__doc__)
    parser.add_argument("video", type=Path, help="the video that was run")
    parser.add_argument("run", type=Path, help="what 'dfer-stream run --json' printed")
    parser.add_argument("out", type=Path, help="the annotated video, ending in .mp4")
    options = parser.parse_args()

    def annotate() -> int:
        print(f"{options.out}: {annotate_file(options.video, options.run, options.out)} frames")
        return Exit.DONE

    return guarded("annotate", annotate)


if __name__ == "__main__":
    raise SystemExit(main())
