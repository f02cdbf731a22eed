"""One picture of a run for a page: annotated frames in a row, the timeline under them.

``python -m tests.scenes.picture VIDEO RUN.jsonl OUT.png --at 1.5 3.5 6 8.5``; without ``--at`` four moments are
taken evenly.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from engine.console import Exit, guarded
from stream.camera.recording import Recording
from stream.show.overlay import OverlayError
from stream.show.overlay.annotate import paired, read_messages
from stream.show.overlay.draw import draw
from stream.show.overlay.palette import INK, PANEL
from stream.show.overlay.text import panel, put_text, text_width
from stream.show.overlay.timeline import save_png, timeline

Image = NDArray[np.uint8]


def contact_sheet(
    frames: Iterable[Image], messages: Sequence[Mapping[str, Any]], fps: float, at_s: Sequence[float], width: int = 1600
) -> Image:
    """Annotated frames at some moments, and the timeline of the run.

    Args:
        frames: The run's RGB frames; only those shown are kept.
        messages: Its decoded ``faces/`` bodies.
        fps: Frames per second.
        at_s: Moments, s; each must lie inside the video.
        width: Of the picture, px.

    Returns:
        ``(H, W, 3)`` uint8 RGB.

    Raises:
        OverlayError: If a moment lies outside the video.
    """
    wanted = [round(t * fps) for t in at_s]
    drawn = {
        k: frame.image if frame.message is None else draw(frame.image, frame.message, frame.measured)
        for k, frame in enumerate(paired(frames, messages))
        if k in wanted
    }
    missing = [t for number, t in zip(wanted, at_s, strict=True) if number not in drawn]
    if missing or not wanted:
        raise OverlayError(f"--at names moments outside the video: {missing or 'none'}", "give some inside it, s")
    gap = max(width // 200, 2)
    across = (width - gap * (len(wanted) - 1)) // len(wanted)
    down = round(across * drawn[wanted[0]].shape[0] / drawn[wanted[0]].shape[1])
    row = np.empty((down, width, 3), np.uint8)
    row[:] = PANEL
    for k, (number, t_s) in enumerate(zip(wanted, at_s, strict=True)):
        small = np.asarray(cv2.resize(drawn[number], (across, down), interpolation=cv2.INTER_AREA), np.uint8)
        caption, unit = f"{t_s:g} s", max(down // 32, 7)
        panel(small, 0, down - 2.4 * unit, text_width(caption, unit, bold=True) + 2 * unit, 2.4 * unit, 0, PANEL, 0.74)
        put_text(small, caption, (unit, down - 0.7 * unit), unit, INK, bold=True)
        x = k * (across + gap)
        row[:, x : x + across] = small
    return np.concatenate([row, timeline(messages, size=(width, max(width // 5, 160)))])


def main() -> int:
    """Command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.scenes.picture", description=__doc__)
    parser.add_argument("video", type=Path, help="the video that was run")
    parser.add_argument("run", type=Path, help="what 'dfer-stream run --json' printed")
    parser.add_argument("out", type=Path, help="the picture, ending in .png")
    parser.add_argument("--at", type=float, nargs="+", help="moments of the video, s")
    parser.add_argument("--width", type=int, default=1600, help="of the picture, px")
    options = parser.parse_args()

    def make() -> int:
        messages = read_messages(options.run)
        with Recording(str(options.video)) as recording:
            fps, length_s = recording.opened.fps, recording.opened.duration_s
            at_s = options.at or [(k + 0.5) / 4 * length_s for k in range(4)]
            images = (frame.image for frame in recording)
            save_png(contact_sheet(images, messages, fps, at_s, options.width), options.out)
        return Exit.DONE

    return guarded("picture", make)


if __name__ == "__main__":
    raise SystemExit(main())
