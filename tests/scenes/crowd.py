"""Twenty faces at 1920x1080 while busy loops take both cores: is the primary face ready, how old are its scores?

python -m tests.scenes.crowd [--seconds 15] [--busy 2] [--max-faces 20]

The crowd is the built-in clip, twenty times. On a machine that others use: ``nice -n -10`` before it.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from stream.camera.paths import demo_clip_path
from stream.publish.message import Faces
from stream.subscribe.client import Client

ROOT = Path(__file__).resolve().parents[2]
COLUMNS, ROWS, LENGTH = 5, 4, 120
CELL = (384, 270)


def make_clip(path: Path) -> None:
    """Write the crowd, forth and back, so that its end joins its start."""
    capture = cv2.VideoCapture(str(demo_clip_path()))
    cells: list[NDArray[np.uint8]] = []
    while len(cells) < LENGTH and (read := capture.read())[0]:
        cells.append(np.asarray(cv2.resize(read[1], CELL, interpolation=cv2.INTER_AREA), np.uint8))
    cells += cells[-2:0:-1]
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), 30, (CELL[0] * COLUMNS, CELL[1] * ROWS))
    for index in range(len(cells)):
        shown = [cells[(index + 7 * place) % len(cells)] for place in range(COLUMNS * ROWS)]
        writer.write(np.vstack([np.hstack(shown[row * COLUMNS : (row + 1) * COLUMNS]) for row in range(ROWS)]))
    writer.release()


def measure(clip: Path, folder: Path, seconds: float, busy: int, max_faces: int) -> dict[str, float | int | None]:
    """Figures of one run, from the first message on."""
    endpoint = f"ipc://{folder}/crowd.ipc"
    flags = ["--source", f"file://{clip}", "--camera.loop", "--faces.max-faces", str(max_faces), "--bind", endpoint]
    loops = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(busy)]
    daemon = subprocess.Popen(
        [sys.executable, "-m", "stream.cli", "run", *flags, "--quiet"],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    ages: list[float] = []
    messages, degraded, faces = 0, 0, 0
    first_ns = ready_ns = last_ns = 0
    try:
        with Client(endpoint) as client:
            deadline = time.monotonic() + 120
            while time.monotonic() < deadline and (not first_ns or last_ns - first_ns < seconds * 1e9):
                message = client.receive(1)
                # The first frame of a file lies ready while the model is still loading: its age says nothing.
                if not isinstance(message, Faces) or not message.valid or not message.frame_id:
                    continue
                last_ns = message.t_publish_ns
                first_ns = first_ns or last_ns
                messages += 1
                degraded += bool(message.degraded)
                faces = max(faces, len(message.faces))
                for face in message.faces:
                    if face.primary and face.ready:
                        ready_ns = ready_ns or last_ns
                        # Age at which it is published, not at which its frame was taken.
                        ages.append((face.score_age_ms or 0.0) + (message.latency_ms.total or 0.0))
    finally:
        for process in (*loops, daemon):
            process.terminate()
            process.wait()
    return {
        "messages_a_s": round(messages / max((last_ns - first_ns) / 1e9, 1e-3), 1),
        "faces": faces,
        "primary_ready_s": round((ready_ns - first_ns) / 1e9, 2) if ready_ns else None,
        "ready_share": round(len(ages) / max(messages, 1), 3),
        "score_age_p50_ms": round(float(np.median(ages)), 1) if ages else None,
        "score_age_p99_ms": round(float(np.percentile(ages, 99)), 1) if ages else None,
        "score_age_most_ms": round(max(ages), 1) if ages else None,
        "degraded_share": round(degraded / max(messages, 1), 3),
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m tests.scenes.crowd", description=__doc__)
    parser.add_argument("--seconds", type=float, default=15)
    parser.add_argument("--busy", type=int, default=2)
    parser.add_argument("--max-faces", type=int, default=20)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        clip = Path(name) / "crowd.mp4"
        make_clip(clip)
        print(json.dumps(measure(clip, Path(name), options.seconds, options.busy, options.max_faces)))


if __name__ == "__main__":
    main()
