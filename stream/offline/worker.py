"""A process that scores items, one after the other: orders on standard input, answers on standard output.

A process of its own, because a decoder that meets a broken file may crash or hang for ever, and may write to the
terminal; and because two of them use two cores. Lines of JSON both ways. It ends when standard input does.
"""

from __future__ import annotations

import os
import queue
import signal
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

# Read by OpenCV as it loads.
os.environ.update(OPENCV_LOG_LEVEL="OFF", OPENCV_FFMPEG_LOGLEVEL="-8")

import msgspec

from engine.errors import DferError
from engine.settings import load
from stream.assemble import LoadedModel, load_model
from stream.camera.driver import Opened
from stream.camera.frame import CameraError
from stream.config import Settings
from stream.faces import FaceTracker
from stream.offline.align import CropAligner
from stream.offline.faces import FoundFace, StillFinder, StillScorer, find_faces
from stream.offline.inputs import Problem
from stream.offline.protocol import Answer, Order, Progressed, Ready, Refused, Scored, Setup
from stream.offline.rows import encode
from stream.offline.video import OverlayFiles, VideoScorer, VideoSummary
from stream.show.overlay import OverlayError

REPORT_EVERY_NS = 200_000_000


class Worker:
    """What a worker keeps between items.

    Args:
        setup: What it was told at first.
        answer: Takes answers.
    """

    def __init__(self, setup: Setup, answer: Callable[[Answer], None]) -> None:
        self._answer, self._align = answer, setup.align
        self._settings: Settings = load(Settings, flags=setup.settings).settings
        self._model: LoadedModel = load_model(self._settings.model)
        self._tracker: FaceTracker | None = None
        self._aligner: CropAligner | None = None
        self._next_report_ns = 0
        spec, backend = self._model.spec, self._model.backend
        answer(Ready(spec.name, self._model.artefact.sha256, spec.labels, backend.name, backend.precision))

    def score(self, order: Order) -> Scored:
        """Score one item; what is wrong with a file is in the answer."""
        with Path(order.part).open("wb") as out:
            if order.item.kind == "video":
                return self._video(order, out)
            return self._images(order, out)

    def _video(self, order: Order, out: BinaryIO) -> Scored:
        item, number = order.item, order.number
        overlays = OverlayFiles(_path(order.annotated), _path(order.timeline))

        def progress(summary: VideoSummary, opened: Opened) -> None:
            if self._report(number, summary.media_s / opened.duration_s if opened.duration_s else 0.0):
                # The parent hands rows on as they come.
                out.flush()

        try:
            done = VideoScorer(self._model, self._settings, self._faces()).score(item.path, out, overlays, progress)
        except (CameraError, OverlayError, OSError) as error:
            # No row of a file that failed as a whole.
            out.truncate(0)
            return Scored(number, 0, (Problem(item.path, _one_line(error, item.path)),))
        reason = done.problem or ""
        return Scored(number, done.rows, (Problem(item.path, reason),) if reason else (), done.media_s)

    def _images(self, order: Order, out: BinaryIO) -> Scored:
        item, spec = order.item, self._model.spec
        stills = item.kind == "stills"
        finder = StillFinder(self._faces()) if stills else None
        aligner = None if stills or not self._align else self._landmarks()
        faces: list[FoundFace] = []
        problems: list[Problem] = []
        seen = 0
        try:
            for found in find_faces(item, spec.crop, aligner, finder):
                if found is None:
                    seen += 1
                    self._report(order.number, 0.5 * seen / len(item.names))
                elif isinstance(found, Problem):
                    problems.append(found)
                else:
                    faces.append(found)
        except OSError as error:
            # The archive itself went away or is damaged.
            problems.append(Problem(item.path, _one_line(error, item.path)))
            faces.clear()
        rows = 0
        for row in StillScorer(self._model, self._settings.scores).rows(faces):
            out.write(encode(row))
            rows += 1
            self._report(order.number, 0.5 + 0.5 * rows / len(faces))
        return Scored(order.number, rows, tuple(problems))

    def _faces(self) -> FaceTracker:
        if self._tracker is None:
            self._tracker = FaceTracker(self._settings.faces)
        return self._tracker

    def _landmarks(self) -> CropAligner:
        if self._aligner is None:
            self._aligner = CropAligner()
        return self._aligner

    def _report(self, number: int, share: float) -> bool:
        """Tell how far an item is, now and then; whether it was told."""
        now_ns = time.monotonic_ns()
        if now_ns < self._next_report_ns:
            return False
        self._next_report_ns = now_ns + REPORT_EVERY_NS
        self._answer(Progressed(number, min(share, 1.0)))
        return True


def _path(text: str | None) -> Path | None:
    return None if text is None else Path(text)


def _one_line(error: Exception, path: str) -> str:
    """An error's words without the path, which stands before them anyway."""
    words = " ".join(str(error).split())
    for spelling in (os.path.abspath(path), path):  # noqa: PTH100 (normalises, follows no link)
        words = words.removeprefix(spelling).removeprefix(":").strip()
    return words or type(error).__name__


def main() -> int:
    """Work until standard input ends."""
    # Ctrl-C goes to every process of a terminal; the parent decides.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    answers = os.fdopen(os.dup(1), "wb", buffering=0)
    # Whatever a library prints must not mix with the answers.
    os.dup2(2, 1)
    orders: queue.Queue[bytes] = queue.Queue()

    def listen() -> None:
        for line in sys.stdin.buffer:
            orders.put(line)
        # The parent is gone, or has no more work: either way nobody waits for what is in hand.
        os._exit(0)

    threading.Thread(target=listen, name="orders", daemon=True).start()

    def answer(message: Answer) -> None:
        answers.write(msgspec.json.encode(message) + b"\n")

    try:
        worker = Worker(msgspec.json.decode(orders.get(), type=Setup), answer)
        while True:
            answer(worker.score(msgspec.json.decode(orders.get(), type=Order)))
    except DferError as error:
        answer(Refused(" ".join(str(error).split())))
        return 2
    except OSError as error:
        answer(Refused(f"rows cannot be written: {error.strerror or error}"))
        return 2


if __name__ == "__main__":
    sys.exit(main())
