"""Cost and exactness of finding and following faces, on scripted clips with known geometry.

    python -m tests.scenes.faces_benchmark [--json FILE]

Prints a table; CPU milliseconds are those of the calling thread, so other work on the machine counts less than in
wall time.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
import psutil
from numpy.typing import NDArray

from engine.spec import CropGeometry
from stream.faces.alignment import similarity
from stream.faces.result import FacesResult
from stream.faces.tracking.tracker import FaceTracker
from tests.scenes.faces import Scene, scenes


@dataclass(frozen=True)
class Score:
    """How one scene went.

    Attributes:
        scene: Its name.
        size: Frame size, px.
        ms: Mean wall time per frame.
        cpu_ms: Mean CPU time of the thread per frame.
        error_px: Mean distance of crop points from where they should be, px of the 224 crop, median over frames.
        jitter_px: Root mean square of that displacement's change between two frames, px of the 224 crop.
        recall: Share of a visible face's frames in which it had landmarks.
        switches: Times a person's id changed.
        ids: Different ids given out.
    """

    scene: str
    size: str
    ms: float
    cpu_ms: float
    error_px: float
    jitter_px: float
    recall: float
    switches: int
    ids: int


def reference_points(tracker: FaceTracker) -> NDArray[np.float64]:
    """``(5, 2)`` landmarks of the photograph itself: the mean over slightly different views of it.

    The net's answer depends a little on its region; the mean over sixteen is what a still face converges to.
    """
    found = []
    for index, (t_ns, image, matrices) in enumerate(replace(scenes()["static"], frames=18)):
        result = tracker.step(image, t_ns)
        points = result.faces[0].points5 if result.faces else None
        if index >= 2 and points is not None:
            back = cv2.invertAffineTransform(matrices[0])
            found.append(points.astype(np.float64) @ back[:, :2].T + back[:, 2])
    tracker.reset()
    return np.asarray(np.mean(found, axis=0), np.float64)


def true_points(reference: NDArray[np.float64], matrix: NDArray[np.float64]) -> NDArray[np.float64]:
    """The photograph's five points in a frame; a mirrored face swaps its left and right ones."""
    points = reference @ matrix[:, :2].T + matrix[:, 2]
    if np.linalg.det(matrix[:, :2]) < 0:
        points = points[[1, 0, 2, 4, 3]]
    return np.asarray(points, np.float64)


def displacement(points: NDArray[np.floating], truth: NDArray[np.float64]) -> NDArray[np.float64]:
    """Where the crop cut at ``points`` shows the template's points, minus where it should: ``(5, 2)`` px of 224."""
    geometry = CropGeometry()
    wrong, right = similarity(points, geometry), similarity(truth, geometry)
    template = np.asarray(geometry.template) * geometry.size_px
    back = cv2.invertAffineTransform(right)
    frame = template @ back[:, :2].T + back[:, 2]
    return np.asarray(frame @ wrong[:, :2].T + wrong[:, 2] - template, np.float64)


def hits(result: FacesResult, truths: list[NDArray[np.float64]]) -> dict[int, tuple[str, NDArray[np.float32]]]:
    """Id and points of the face that shows each person: every face counts for the nearest person only."""
    found: dict[int, tuple[str, NDArray[np.float32]]] = {}
    for face in result.faces:
        if face.points5 is None:
            continue
        distances = [
            float(np.linalg.norm(face.points5.mean(0) - t.mean(0)) / np.linalg.norm(t[1] - t[0])) for t in truths
        ]
        person = int(np.argmin(distances))
        if distances[person] < 0.5:
            found.setdefault(person, (face.id, face.points5))
    return found


def run_scene(tracker: FaceTracker, scene: Scene, reference: NDArray[np.float64]) -> Score:
    """Play a scene through a tracker and score it."""
    tracker.reset()
    wall = cpu = 0.0
    offsets: list[list[NDArray[np.float64]]] = []
    current: dict[int, str] = {}
    ids: set[str] = set()
    switches = seen = expected = 0
    previous: dict[int, NDArray[np.float64]] = {}
    changes: list[float] = []
    for t_ns, image, matrices in scene:
        started, cpu_started = time.perf_counter(), time.thread_time()
        result = tracker.step(image, t_ns)
        wall += time.perf_counter() - started
        cpu += time.thread_time() - cpu_started
        ids |= {face.id for face in result.faces}
        row = []
        truths = [true_points(reference, matrix) for matrix in matrices]
        found = hits(result, truths)
        for person, truth in enumerate(truths):
            expected += 1
            hit = found.get(person)
            if hit is None:
                previous.pop(person, None)
                continue
            seen += 1
            switches += current.get(person, hit[0]) != hit[0]
            current[person] = hit[0]
            offset = displacement(hit[1], truth)
            row.append(offset)
            if person in previous:
                changes.append(float(((offset - previous[person]) ** 2).sum(1).mean()))
            previous[person] = offset
        offsets.append(row)
    errors = [float(np.linalg.norm(o, axis=1).mean()) for row in offsets for o in row]
    return Score(
        scene.name,
        "x".join(map(str, scene.size)),
        wall / scene.frames * 1e3,
        cpu / scene.frames * 1e3,
        float(np.median(errors)) if errors else float("nan"),
        float(np.sqrt(np.mean(changes))) if changes else float("nan"),
        seen / max(expected, 1),
        switches,
        len(ids),
    )


def main(arguments: list[str] | None = None) -> int:
    """Run every scene at both sizes; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m tests.scenes.faces_benchmark", description=__doc__)
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    options = parser.parse_args(arguments)
    cv2.setNumThreads(1)
    process = psutil.Process()
    before = process.memory_info().rss
    started = time.perf_counter()
    tracker = FaceTracker()
    load_s = time.perf_counter() - started
    loaded_mb = (process.memory_info().rss - before) / 2**20
    reference = reference_points(tracker)
    clips = list(scenes().values())
    clips += [replace(clip, size=(1280, 720)) for clip in clips if clip.name in ("static", "slow pan", "40 px face")]
    print(f"load {load_s:.2f} s, +{loaded_mb:.0f} MB")
    print(
        f"{'scene':<14}{'size':<10}{'ms':>6}{'cpu ms':>8}{'error':>7}{'jitter':>8}{'recall':>8}{'switch':>8}{'ids':>5}"
    )
    scores = []
    for clip in clips:
        s = run_scene(tracker, clip, reference)
        scores.append(s)
        print(
            f"{s.scene:<14}{s.size:<10}{s.ms:>6.2f}{s.cpu_ms:>8.2f}{s.error_px:>7.2f}{s.jitter_px:>8.2f}"
            f"{s.recall:>8.2f}{s.switches:>8}{s.ids:>5}",
            flush=True,
        )
    if options.json is not None:
        report = {"load_s": load_s, "memory_mb": loaded_mb, "scenes": [vars(s) for s in scores]}
        options.json.write_text(json.dumps(report, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
