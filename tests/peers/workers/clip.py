"""What every worker does alike: play a clip in a loop through OpenCV, and print a line a frame.

A worker runs in its peer's own environment, so it imports nothing of this repository but this file beside it.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from typing import Any

import cv2

NAMES = {
    "angry": "anger",
    "happy": "happiness",
    "sad": "sadness",
    "surprised": "surprise",
    "fearful": "fear",
    "disgusted": "disgust",
}
"""Other peoples' names of our classes."""


def frames() -> Iterator[Any]:
    """(H, W, 3) uint8 BGR, as many as the second argument says of the clip that the first one names."""
    path, left = sys.argv[1], int(sys.argv[2])
    while left > 0:
        capture = cv2.VideoCapture(path)
        good, image = capture.read()
        if not good:
            raise SystemExit(f"{path} has no frames")
        while good and left > 0:
            yield image
            left -= 1
            good, image = capture.read()
        capture.release()


def say(label: str | None) -> None:
    """One frame is done; `label` is None where there is no face or no class."""
    name = None if label is None else label.lower()
    print(json.dumps({"label": NAMES.get(name, name) if name else None}), flush=True)
