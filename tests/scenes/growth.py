"""Whether a daemon's step grows over many frames: resident memory and live allocations, after it has warmed up.

    python -m tests.scenes.growth [--frames 100000] [--every 1000] [CLIP]

Frames of a clip, there and back, go through the pipeline and into encoded messages, in one process and without a clock.
Exits 1 where memory grows by more than 1 MB in 100,000 frames beyond its own scatter, or where more than 50 allocations
in 1,000 frames stay alive. ``tracemalloc`` makes it three times slower than a daemon.
"""

from __future__ import annotations

import argparse
import gc
import sys
import tracemalloc
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import psutil

from stream.assemble import build_pipeline, load_model, warm_up
from stream.camera.frame import Frame
from stream.camera.paths import demo_clip_path
from stream.camera.pixels import Image, copied
from stream.camera.video import open_video
from stream.config import Settings
from stream.envelope import Envelope
from stream.faces import FaceTracker
from stream.publish.wire import encode

PERIOD_NS = 33_333_333
MOST_BYTES, MOST_BLOCKS = 10.0, 0.05
"""Growth a frame: 1 MB in 100,000, and 50 blocks in 1,000."""


def main(arguments: list[str] | None = None) -> int:
    """Measure and print; 1 where it grows."""
    parser = argparse.ArgumentParser(prog="python -m tests.scenes.growth", description=__doc__)
    parser.add_argument("clip", nargs="?", type=Path, default=demo_clip_path())
    parser.add_argument("--frames", type=int, default=100_000)
    parser.add_argument("--every", type=int, default=1000)
    options = parser.parse_args(arguments)
    cv2.setNumThreads(1)
    reader, pictures = open_video(options.clip), list[Image]()
    while len(pictures) < 150 and (picture := reader.next()) is not None:
        pictures.append(copied(picture.content))
    pictures += pictures[::-1]
    settings = Settings()
    settings = replace(settings, camera=replace(settings.camera, every_frame=True))
    model, tracker = load_model(settings.model), FaceTracker(settings.faces)
    warm_up(model)
    pipeline, envelope = build_pipeline(settings, model, tracker), Envelope("growth", model.identity())
    process = psutil.Process()
    rows: list[tuple[int, int, int]] = []
    gc.collect()
    gc.freeze()
    for index in range(options.frames):
        if index == 2 * options.every:
            tracemalloc.start()
        t_ns = (index + 1) * PERIOD_NS
        frame = Frame(pictures[index % len(pictures)], index, t_ns, t_ns, "file", t_ns)
        encode(envelope.faces(frame, pipeline.step(frame), t_ns, t_ns, 0, 30.0, []))
        # Objects alive now that were made since the start: what a frame needs and lets go does not count.
        if index > 4 * options.every and index % options.every == 0:
            gc.collect()
            blocks = sum(trace.count for trace in tracemalloc.take_snapshot().statistics("filename"))
            rows.append((index, process.memory_info().rss, blocks))
    at, memory, blocks_alive = (np.array(column, float) for column in zip(*rows, strict=True))
    # A median of slopes stands up to a step when a pool grows once.
    first, second = np.triu_indices(len(at), 1)
    bytes_a_frame, blocks_a_frame = (
        float(np.median((values[second] - values[first]) / (at[second] - at[first])))
        for values in (memory, blocks_alive)
    )
    print(f"{options.frames} frames: resident memory {bytes_a_frame * 1e5 / 1e6:+.2f} MB in 100,000 frames, ", end="")
    print(f"allocations kept {blocks_a_frame * 1000:+.1f} in 1,000 frames; {memory[-1] / 1e6:.0f} MB at the end")
    return int(bytes_a_frame > MOST_BYTES or blocks_a_frame > MOST_BLOCKS)


if __name__ == "__main__":
    sys.exit(main())
