"""What a worker of ``score`` does: one item after the other, its rows into a part file."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

# Read by OpenCV as it loads.
os.environ.update(OPENCV_LOG_LEVEL="OFF", OPENCV_FFMPEG_LOGLEVEL="-8")

import msgspec

from engine.settings import load
from stream.assemble import LoadedModel, load_model
from stream.camera.driver import Opened
from stream.camera.frame import CameraError
from stream.config import Settings
from stream.faces import FaceTracker
from stream.offline.align import CropAligner
from stream.offline.faces import FoundFace, StillFinder, StillScorer, find_faces
from stream.offline.inputs import Item, Problem, digest
from stream.offline.pool.protocol import Progressed, Ready
from stream.offline.pool.serve import Answer, serve
from stream.offline.protocol import Order, Scored, Setup
from stream.offline.rows import encode
from stream.offline.storage import Store, is_url
from stream.offline.video import OverlayFiles, VideoScorer, VideoSummary
from stream.show.overlay import OverlayError

REPORT_EVERY_NS = 200_000_000


class Worker:
    """What a worker keeps between items.

    Args:
        setup: What it was told at first.
        answer: Takes answers.
    """

    def __init__(self, setup: Setup, answer: Answer) -> None:
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
        with _here(order) as item, Path(order.part).open("wb") as out:
            # First, which also brings the file into memory.
            sha256 = digest(item) if order.digest else ""
            scored = self._video(order, item.path, out) if item.kind == "video" else self._images(order, out)
        return msgspec.structs.replace(scored, sha256=sha256)

    def _video(self, order: Order, path: str, out: BinaryIO) -> Scored:
        item, number = order.item, order.number
        overlays = OverlayFiles(_path(order.annotated), _path(order.timeline))

        def progress(summary: VideoSummary, opened: Opened) -> None:
            if self._report(number, summary.media_s / opened.duration_s if opened.duration_s else 0.0):
                # The parent hands rows on as they come.
                out.flush()

        try:
            done = VideoScorer(self._model, self._settings, self._faces()).score(
                path, out, overlays, progress, item.path
            )
        except (CameraError, OverlayError, OSError) as error:
            # No row of a file that failed as a whole.
            out.truncate(0)
            return Scored(number, 0, (Problem(item.path, _one_line(error, path)),))
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


@contextmanager
def _here(order: Order) -> Iterator[Item]:
    """The item with its file on this machine, as long as it is worked on."""
    item = order.item
    if not is_url(item.path):
        yield item
        return
    with tempfile.TemporaryDirectory(prefix="fetched-", dir=Path(order.part).parent) as folder:
        copy = Path(folder) / f"clip{Path(item.path.partition('?')[0]).suffix}"
        Store(item.path).fetch("", copy)
        yield msgspec.structs.replace(item, path=str(copy))


def _path(text: str | None) -> Path | None:
    return None if text is None else Path(text)


def _one_line(error: Exception, path: str) -> str:
    """An error's words without the path, which stands before them anyway."""
    words = " ".join(str(error).split())
    for spelling in (os.path.abspath(path), path):  # noqa: PTH100 (normalises, follows no link)
        words = words.removeprefix(spelling).removeprefix(":").strip()
    return words or type(error).__name__


def begin(setup: bytes, answer: Answer) -> Callable[[bytes], Scored]:
    """Open what the set-up names; gives what scores one order."""
    worker = Worker(msgspec.json.decode(setup, type=Setup), answer)
    return lambda order: worker.score(msgspec.json.decode(order, type=Order))


def main() -> int:
    """Score until standard input ends."""
    return serve(begin)
