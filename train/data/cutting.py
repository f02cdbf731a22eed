"""What a worker of ``prepare`` does: one clip after the other, its faces into a folder of crops."""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import cv2
import msgspec
import numpy as np

from engine.spec import CropGeometry
from stream.faces import FaceTracker
from stream.offline.cluster.address import connect
from stream.offline.cluster.pool import ClusterPool
from stream.offline.cluster.station import Delivered, Station
from stream.offline.pool.protocol import Ready
from stream.offline.pool.serve import Answer, serve
from stream.offline.pool.workers import Task, Workers
from stream.window.crop import crop_face
from train.data.frames import iterate_frames, read_frames
from train.data.own.likeness import chosen_frames, file_hash, pack, thumbnail
from train.data.own.shared import CROPS_NOTE
from train.data.record import Clip, DataError


@dataclass(frozen=True)
class Outcome:
    """What became of one clip.

    Attributes:
        name: The clip's name.
        folder: Its folder of crops below the output folder, or "" where it could not be cut.
        frames: Frames read.
        cropped: Frames in which the chosen face was seen.
        tracks: Faces followed in the clip.
        problem: Why it could not be cut, or what of it is missing; "" if nothing.
        sha256: Of the video's file.
        look: How the video looks, packed (:mod:`train.data.own.likeness`): copies are known by it after cutting.
    """

    name: str
    folder: str = ""
    frames: int = 0
    cropped: int = 0
    tracks: int = 0
    problem: str = ""
    sha256: str = ""
    look: str = ""

    @property
    def coverage(self) -> float:
        """Share of frames with the face, [0, 1]."""
        return self.cropped / self.frames if self.frames else 0.0


@dataclass
class _Face:
    area: float = 0.0
    crops: list[bytes] = field(default_factory=list)


def cut_clip(
    clip: Clip, out: Path, geometry: CropGeometry, quality: int = 95, tracker: FaceTracker | None = None
) -> Outcome:
    """Cut the main face of one clip: of all faces followed, the one that is largest times longest.

    Args:
        clip: The raw clip.
        out: Output folder; crops go to ``crops/<name>`` in it, whole or not at all.
        geometry: The aligned crop.
        quality: JPEG quality, 1 to 100.
        tracker: One that is open already; it begins anew.

    Returns:
        The outcome; a clip that cannot be cut is an outcome, no exception.
    """
    place = folder_name(clip)
    target = out / place
    if (target / CROPS_NOTE).is_file():
        return Outcome(**json.loads((target / CROPS_NOTE).read_text("utf-8")))
    faces: dict[str, _Face] = {}
    frames = 0
    thumbnails = []
    problems: list[str] = []
    try:
        tracker = tracker or FaceTracker()
        tracker.begin()
        for seconds, image in iterate_frames(clip, problems=problems):
            frames += 1
            thumbnails.append(thumbnail(image))
            for face in tracker.step(np.ascontiguousarray(image), int(seconds * 1e9)).faces:
                if face.points5 is None:
                    continue
                crop = crop_face(image, face.points5, geometry)
                ok, jpeg = cv2.imencode(".jpg", crop[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])
                assert ok
                own = faces.setdefault(face.id, _Face())
                own.area += face.box[2] * face.box[3]
                own.crops.append(jpeg.tobytes())
    except DataError as error:
        return Outcome(clip.name, frames=frames, problem=str(error))
    if not frames:
        return Outcome(clip.name, problem="no frame could be decoded")
    if not faces:
        return Outcome(clip.name, frames=frames, problem=f"no face was found{_turned(clip, frames // 2, tracker)}")
    chosen = max(faces.values(), key=lambda face: face.area)
    look = pack(np.stack([thumbnails[i] for i in chosen_frames(frames)]))
    told = f"{'; '.join(problems)} (what there is was cut)" if problems else ""
    counts = frames, len(chosen.crops), len(faces)
    outcome = Outcome(clip.name, place, *counts, told, sha256=file_hash(clip.path), look=look)
    target.parent.mkdir(parents=True, exist_ok=True)
    room = Path(tempfile.mkdtemp(prefix=".cutting-", dir=target.parent))
    try:
        for number, jpeg_bytes in enumerate(chosen.crops, start=1):
            (room / f"{number:06d}.jpg").write_bytes(jpeg_bytes)
        (room / CROPS_NOTE).write_text(json.dumps(asdict(outcome)), "utf-8")
        room.chmod(0o755)
        if target.exists():
            shutil.rmtree(target)
        room.replace(target)
    finally:
        shutil.rmtree(room, ignore_errors=True)
    return outcome


def _turned(clip: Clip, frame: int, tracker: FaceTracker) -> str:
    """What to do about a clip in which there is a face if it is turned: a telephone held the wrong way round."""
    try:
        image = read_frames(clip, [frame])[0]
    except DataError:
        return ""
    for quarters in (2, 1, 3):
        tracker.begin()
        if tracker.step(np.ascontiguousarray(np.rot90(image, quarters)), 0).faces:
            degrees = 90 * quarters
            return (
                f"; turned by {degrees}° there is one: ffmpeg -display_rotation {degrees} -i {clip.path.name} -c copy "
                f"turned{clip.path.suffix}"
            )
    return ""


def folder_name(clip: Clip) -> str:
    """Where a clip's crops go, relative to the output folder; different clips never share a folder."""
    safe = "".join(c if c.isalnum() or c in "-_." else "_" for c in clip.name.replace("/", "__"))
    return f"crops/{safe[:80]}-{hashlib.sha256(clip.name.encode()).hexdigest()[:8]}"


class CutSetup(msgspec.Struct, frozen=True):
    """What every worker is told at first.

    Attributes:
        out: Output folder.
        geometry: The aligned crop.
    """

    out: str
    geometry: CropGeometry


class CutOrder(msgspec.Struct, frozen=True):
    """One clip to cut: :class:`Clip`, as far as cutting needs it, and a number that names it in the answers."""

    number: int
    name: str
    path: str
    start_s: float = 0.0
    end_s: float | None = None


class Cut(msgspec.Struct, tag="cut", frozen=True):
    """A clip was cut, or cannot be."""

    number: int
    outcome: Outcome


def cut_here(clips: Sequence[Clip], setup: CutSetup, workers: int) -> Iterator[tuple[int, Outcome]]:
    """Cut clips in processes of this machine; gives number and outcome of each as it comes.

    Raises:
        ScoreError: If no worker comes up.
    """
    if not clips:
        return
    pool = Workers(_task(setup), min(workers, len(clips)))
    try:
        for arrived in pool.as_completed(_orders(clips), lambda _: None):
            if arrived is not None:
                yield arrived[1].number, arrived[1].outcome
    finally:
        pool.close()


def cut_on_cluster(clips: Sequence[Clip], setup: CutSetup, address: str) -> Iterator[tuple[int, Outcome]]:
    """The same on every core of a Ray cluster.

    Raises:
        ScoreError: If the cluster does not take this machine, or a node cannot cut.
    """
    if not clips:
        return
    orders = _orders(clips)

    def give_up(number: int, reason: str) -> Sequence[Delivered]:
        return [_delivered(_lost(orders[number], reason))]

    pool = ClusterPool(connect(address), CutStation, msgspec.json.encode(setup), None, len(clips))
    try:
        given = {order.number: msgspec.json.encode(order) for order in orders}
        for delivered in pool.run(given, lambda _: None, give_up):
            cut = msgspec.json.decode(delivered.body, type=Cut)
            yield cut.number, cut.outcome
    finally:
        pool.close()


class CutStation(Station[CutOrder, Cut]):
    """An actor that cuts."""

    def task(self) -> Task[CutOrder, Cut]:
        """What the worker does."""
        return _task(msgspec.json.decode(self.request, type=CutSetup))

    def begin(self, ready: Ready) -> None:
        """The worker is ready."""
        self._cut: list[Cut] = []

    def place(self, order: CutOrder) -> CutOrder:
        """The order as it is."""
        return order

    def keep(self, order: CutOrder, done: Cut, deaths: int) -> None:
        """Take a result: its crops are in place."""
        self._cut.append(done)

    def complete(self, everything: bool) -> Sequence[Delivered]:
        """What was cut since the last call."""
        made, self._cut = [_delivered(cut) for cut in self._cut], []
        return made


def begin(setup: bytes, answer: Answer) -> Callable[[bytes], Cut]:
    """Open the tracker; gives what cuts one clip."""
    told = msgspec.json.decode(setup, type=CutSetup)
    # One core each: there are as many workers as cores.
    cv2.setNumThreads(1)
    tracker = FaceTracker()
    answer(Ready("faces"))

    def cut(order: bytes) -> Cut:
        given = msgspec.json.decode(order, type=CutOrder)
        clip = Clip(given.name, Path(given.path), "", "", given.start_s, given.end_s)
        return Cut(given.number, cut_clip(clip, Path(told.out), told.geometry, tracker=tracker))

    return cut


def main() -> int:
    """Cut until standard input ends."""
    return serve(begin)


def _task(setup: CutSetup) -> Task[CutOrder, Cut]:
    return Task("train.data.cutting", setup, CutOrder, Cut, _lost)


def _orders(clips: Sequence[Clip]) -> list[CutOrder]:
    return [CutOrder(n, clip.name, str(clip.path), clip.start_s, clip.end_s) for n, clip in enumerate(clips)]


def _lost(order: CutOrder, reason: str) -> Cut:
    return Cut(order.number, Outcome(order.name, problem=reason))


def _delivered(cut: Cut) -> Delivered:
    return Delivered((cut.number,), msgspec.Raw(msgspec.json.encode(cut)))
