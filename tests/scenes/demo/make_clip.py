"""Make the demo clip: neutral, smile, surprise, frown and back, with a moving head and a moving camera.

Run ``python -m tests.scenes.demo.make_clip OUT.mp4``; ``OUT.json`` beside it gets the times of the expressions.
Every curve has the clip's length as its period, so the clip loops without a jump.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from engine.console import Exit, guarded
from tests.scenes.demo.portrait import DemoError, load_portrait
from tests.scenes.demo.render import Renderer, View

FPS = 30
SIZE = (640, 480)
DURATION_S = 12.0
# When each pose is fully on, s; between two of them the face moves.
SEGMENTS = (
    (0.0, 1.9, "neutral"),
    (2.4, 4.5, "happiness"),
    (4.9, 6.8, "surprise"),
    (7.3, 9.6, "sadness"),
    (10.2, 12.0, "neutral"),
)
_BLINKS_S = (1.1, 4.72, 7.05, 10.9)
_BLINK_HALF_S = 0.13
_NOISE_SIGMA = 1.6
_CRF = 21


def _ease(x: float) -> float:
    """Quintic ease, 0 to 1 with zero velocity and acceleration at both ends."""
    x = min(max(x, 0.0), 1.0)
    return x * x * x * (x * (6 * x - 15) + 10)


def weights_at(t_s: float) -> dict[str, float]:
    """Pose weights at a time of the clip; they sum to 1.

    Args:
        t_s: Time in s, ``[0, DURATION_S]``.

    Returns:
        Pose name to weight.
    """
    for (start, end, name), following in zip(SEGMENTS, (*SEGMENTS[1:], None), strict=True):
        if t_s <= end or following is None:
            # A held face is never quite still.
            life = 1 - 0.05 * np.sin(np.pi * (t_s - start) / (end - start)) ** 2 if name != "neutral" else 1.0
            return {name: float(life), "neutral": 1 - float(life)} if name != "neutral" else {"neutral": 1.0}
        if t_s < following[0]:
            share = _ease((t_s - end) / (following[0] - end))
            return {name: 1 - share, following[2]: share}
    raise AssertionError("unreachable")


def blink_at(t_s: float) -> float:
    """How far the eyes are closed, 0 to 1."""
    return max(_ease(1 - abs(t_s - at) / _BLINK_HALF_S) for at in _BLINKS_S)


def view_at(t_s: float) -> View:
    """Head and camera at a time of the clip."""
    turn = 2 * np.pi * t_s / DURATION_S
    weights = weights_at(t_s)
    surprise, sad = weights.get("surprise", 0.0), weights.get("sadness", 0.0)
    return View(
        yaw_deg=float(6.0 * np.sin(turn + 0.4) + 2.0 * np.sin(3 * turn)),
        pitch_deg=float(1.5 * np.sin(2 * turn + 1.0) - 2.0 * surprise + 3.0 * sad),
        roll_deg=float(2.5 * np.sin(turn * 2 + 2.0) + 1.2 * np.sin(3 * turn + 0.7)),
        head_x=float(2.0 * np.sin(turn + 0.4)),
        head_y=float(0.7 * np.sin(2 * turn) - 1.5 * surprise + 1.0 * sad),
        zoom=float(2.12 + 0.14 * np.sin(turn - 1.2)),
        look_x=float(228 + 9 * np.sin(turn + 2.6)),
        look_y=float(109 + 2.5 * np.sin(2 * turn + 0.5)),
        camera_roll_deg=float(0.8 * np.sin(3 * turn + 1.9)),
    )


def frames() -> Iterator[NDArray[np.uint8]]:
    """Every frame of the clip, ``(480, 640, 3)`` uint8 BGR, the same on every run.

    Raises:
        DemoError: If scikit-image or the face is missing.
    """
    renderer = Renderer(load_portrait(), SIZE)
    noise = np.random.default_rng(2026)
    for number in range(round(DURATION_S * FPS)):
        t_s = number / FPS
        picture = renderer.draw(weights_at(t_s), blink_at(t_s), view_at(t_s))
        # Luminance noise of a small sensor, a little correlated as after demosaicing.
        grain = cv2.GaussianBlur(noise.normal(0.0, 1.0, picture.shape[:2]).astype(np.float32), (0, 0), 0.6)
        yield np.clip(picture + 2.0 * _NOISE_SIGMA * grain[..., None] + 0.5, 0, 255).astype(np.uint8)


def _encode(path: Path) -> None:
    try:
        import av
    except ImportError as error:
        raise DemoError("H.264 is written with PyAV", "pip install av") from error
    try:
        container = av.open(str(path), "w")
    except OSError as error:
        raise DemoError(f"{path}: cannot be written: {error.strerror}") from error
    with container:
        # One thread: x264's output then depends on nothing but its input.
        options = {"crf": str(_CRF), "preset": "slow", "threads": "1"}
        stream = container.add_stream("libx264", rate=FPS, options=options)
        stream.width, stream.height, stream.pix_fmt = *SIZE, "yuv420p"
        for picture in frames():
            for packet in stream.encode(av.VideoFrame.from_ndarray(picture, format="bgr24")):
                container.mux(packet)
        for packet in stream.encode():
            container.mux(packet)


def write_clip(out: Path) -> None:
    """Write the clip and, beside it, the times of its expressions as JSON.

    Args:
        out: Path ending in ``.mp4``.

    Raises:
        DemoError: If the clip cannot be made or written.
    """
    if out.suffix != ".mp4":
        raise DemoError(f"{out}: the clip's name must end in .mp4")
    partial = out.with_name(f".{out.stem}.partial.mp4")
    try:
        _encode(partial)
        partial.replace(out)
    finally:
        partial.unlink(missing_ok=True)
    segments = [{"start_s": start, "end_s": end, "expression": name} for start, end, name in SEGMENTS]
    facts = {"fps": FPS, "width": SIZE[0], "height": SIZE[1], "duration_s": DURATION_S, "segments": segments}
    listing = out.with_suffix(".json")
    partial_listing = listing.with_name(f".{listing.name}.partial")
    partial_listing.write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")
    partial_listing.replace(listing)


def main() -> int:
    """Command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.scenes.demo.make_clip", description=__doc__)
    parser.add_argument("out", type=Path, help="where to write the clip, ending in .mp4")
    options = parser.parse_args()

    def make() -> int:
        write_clip(options.out)
        return Exit.DONE

    return guarded("make_clip", make)


if __name__ == "__main__":
    raise SystemExit(main())
