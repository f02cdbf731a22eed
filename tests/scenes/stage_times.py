"""CPU milliseconds a frame of each stage of the pipeline, in one process.

python -m tests.scenes.stage_times [CLIP]
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2

from stream import pipeline as pipeline_module
from stream.assemble import build_pipeline, load_model, warm_up
from stream.camera.frame import Frame
from stream.camera.paths import demo_clip_path
from stream.camera.pixels import Image, copied
from stream.camera.video import open_video
from stream.config import Settings
from stream.faces import FaceTracker
from stream.faces.tracking import tracker as tracker_module

FRAMES, WARM = 720, 60
PERIOD_NS = 33_333_333


def main(clip: Path) -> None:
    """Measure and print."""
    cv2.setNumThreads(1)
    reader, images = open_video(clip), list[Image]()
    while len(images) < FRAMES // 2 and (picture := reader.next()) is not None:
        images.append(copied(picture.content))
    settings = Settings()
    settings = replace(settings, camera=replace(settings.camera, every_frame=True))
    model, tracker = load_model(settings.model), FaceTracker(settings.faces)
    warm_up(model)
    pipeline = build_pipeline(settings, model, tracker)
    spent: dict[str, list[int]] = {}
    parts: list[tuple[str, Any, str]] = [
        ("thumbnail", tracker_module, "thumbnail"),
        ("cuts and camera motion", tracker._cuts, "step"),
        ("follow, landmark net included", tracker, "_follow"),
        ("landmark net", tracker._landmarks._net, "run"),
        ("detect and check", tracker, "_reconcile"),
        ("pose, quality, signals", tracker, "_report"),
        ("crop", pipeline_module, "crop_face"),
        ("encoder", model.backend, "encode"),
        ("head", model.backend, "head"),
        ("calibrate and describe", pipeline, "_describe"),
    ]
    for name, owner, method in parts:
        setattr(owner, method, _timed(getattr(owner, method), spent.setdefault(name, [0, 0])))
    there_and_back = images + images[::-1]
    for index in range(WARM + FRAMES):
        if index == WARM:
            for total in spent.values():
                total[:] = 0, 0
            began = time.process_time_ns()
        image = there_and_back[index % len(there_and_back)]
        pipeline.step(Frame(image, index, (index + 1) * PERIOD_NS, index, "file", 0))
    whole = (time.process_time_ns() - began) / FRAMES / 1e6
    print(f"{'all':<32}{whole:>7.3f} ms a frame ({model.backend.precision}, {model.backend.device})")
    for name, (took, calls) in spent.items():
        print(f"{name:<32}{took / FRAMES / 1e6:>7.3f}{took / FRAMES / 1e4 / whole:>6.0f} %{calls / FRAMES:>6.2f} calls")


def _timed(call: Callable[..., Any], total: list[int]) -> Callable[..., Any]:
    def timed(*args: Any, **named: Any) -> Any:
        began = time.process_time_ns()
        try:
            return call(*args, **named)
        finally:
            total[0] += time.process_time_ns() - began
            total[1] += 1

    return timed


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else demo_clip_path())
