"""``dfer-train prepare``: cut the faces of raw videos with the daemon's own tracker and crop.

Every clip becomes a folder of aligned crops, moved into place when complete, so a broken run goes on where it was. What
could not be cut is listed with the reason; a contact sheet shows what was.
"""

from __future__ import annotations

import csv
import io
import json
import multiprocessing
import shutil
import signal
import tempfile
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass, field
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from engine.files import write_bytes, write_text
from engine.spec import CropGeometry
from train.data.frames import iterate_frames, read_frames
from train.data.layouts.clips import COLUMNS
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


def _turned(clip: Clip, frame: int) -> str:
    """What to do about a clip in which there is a face if it is turned: a telephone held the wrong way round."""
    from stream.faces import FaceTracker

    try:
        image = read_frames(clip, [frame])[0]
    except DataError:
        return ""
    for quarters in (2, 1, 3):
        if FaceTracker().step(np.ascontiguousarray(np.rot90(image, quarters)), 0).faces:
            degrees = 90 * quarters
            return (
                f"; turned by {degrees}° there is one: ffmpeg -display_rotation {degrees} -i {clip.path.name} -c copy "
                f"turned{clip.path.suffix}"
            )
    return ""


def cut_clip(clip: Clip, out: Path, geometry: CropGeometry, quality: int = 95) -> Outcome:
    """Cut the main face of one clip: of all faces followed, the one that is largest times longest.

    Args:
        clip: The raw clip.
        out: Output folder; crops go to ``crops/<name>`` in it, whole or not at all.
        geometry: The aligned crop.
        quality: JPEG quality, 1 to 100.

    Returns:
        The outcome; a clip that cannot be cut is an outcome, no exception.
    """
    from stream.faces import FaceTracker
    from stream.window.crop import crop_face

    place = folder_name(clip)
    target = out / place
    if (target / CROPS_NOTE).is_file():
        return Outcome(**json.loads((target / CROPS_NOTE).read_text("utf-8")))
    faces: dict[str, _Face] = {}
    frames = 0
    thumbnails = []
    problems: list[str] = []
    try:
        tracker = FaceTracker()
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
        return Outcome(clip.name, frames=frames, problem=f"no face was found{_turned(clip, frames // 2)}")
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


def folder_name(clip: Clip) -> str:
    """Where a clip's crops go, relative to the output folder; different clips never share a folder."""
    safe = "".join(c if c.isalnum() or c in "-_." else "_" for c in clip.name.replace("/", "__"))
    import hashlib

    return f"crops/{safe[:80]}-{hashlib.sha256(clip.name.encode()).hexdigest()[:8]}"


def _quiet() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    cv2.setNumThreads(1)


def prepare(
    clips: Sequence[Clip],
    out: Path,
    geometry: CropGeometry,
    workers: int,
    part: str = "train",
    min_coverage: float = 0.3,
    advance: Callable[[Outcome], None] | None = None,
    problems: Mapping[str, Sequence[str]] | None = None,
) -> list[Outcome]:
    """Cut all clips and write ``<part>.csv``, ``<part>-failed.csv`` and ``<part>-contact.jpg``.

    Args:
        clips: Raw clips.
        out: Output folder.
        geometry: The aligned crop.
        workers: Processes.
        part: Name of the CSV, for `clips` as a data source.
        min_coverage: Clips whose face is seen in a smaller share of frames are kept, but listed.
        advance: Called after every clip.
        problems: What was wrong already with the list the clips come from (kind -> names): listed as well.

    Returns:
        One outcome per clip, in order.
    """
    out.mkdir(parents=True, exist_ok=True)
    for stale in (out / "crops").glob(".cutting-*"):
        shutil.rmtree(stale, ignore_errors=True)
    outcomes: dict[int, Outcome] = {}
    # Nets and threads of the parent do not survive a fork.
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(max(1, workers), mp_context=context, initializer=_quiet)
    try:
        waiting = {pool.submit(cut_clip, clip, out, geometry): i for i, clip in enumerate(clips)}
        for done in as_completed(waiting):
            outcomes[waiting[done]] = done.result()
            if advance is not None:
                advance(outcomes[waiting[done]])
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
    ordered = [outcomes[i] for i in range(len(clips))]
    _write_lists(clips, ordered, out, part, min_coverage, problems or {})
    sheet = contact_sheet([(o, out / o.folder) for o in ordered if o.folder])
    if sheet is not None:
        write_bytes(out / f"{part}-contact.jpg", sheet)
    return ordered


def _write_lists(
    clips: Sequence[Clip],
    outcomes: Sequence[Outcome],
    out: Path,
    part: str,
    min_coverage: float,
    problems: Mapping[str, Sequence[str]],
) -> None:
    table, failed = io.StringIO(), io.StringIO()
    rows, failures = csv.writer(table, lineterminator="\n"), csv.writer(failed, lineterminator="\n")
    rows.writerow([c for c in COLUMNS if c in ("path", "label", "subject")])
    failures.writerow(["name", "path", "problem", "frames", "cropped"])
    failures.writerows([name, "", kind, 0, 0] for kind, names in problems.items() for name in names)
    for clip, outcome in zip(clips, outcomes, strict=True):
        if outcome.folder:
            rows.writerow([outcome.folder, clip.label, clip.group])
        problem = outcome.problem
        if not problem and outcome.coverage < min_coverage:
            problem = f"the face is seen in {outcome.coverage:.0%} of the frames (kept)"
        if problem:
            failures.writerow([clip.name, str(clip.path), problem, outcome.frames, outcome.cropped])
    write_text(out / f"{part}.csv", table.getvalue())
    write_text(out / f"{part}-failed.csv", failed.getvalue())


def contact_sheet(clips: Sequence[tuple[Outcome, Path]], most: int = 96, side: int = 80) -> bytes | None:
    """First, middle and last crop of up to `most` clips, evenly picked, as one JPEG; None without clips.

    A red bar under a clip is the share of frames in which its face was not seen.
    """
    if not clips:
        return None
    picked = [clips[i] for i in np.unique(np.linspace(0, len(clips) - 1, min(most, len(clips))).astype(int))]
    columns = min(6, len(picked))
    cell = np.full((side + 14, 3 * side + 8, 3), 255, np.uint8)
    cells: list[NDArray[np.uint8]] = []
    for outcome, folder in picked:
        tile = cell.copy()
        files = sorted(folder.glob("*.jpg"))
        for slot, file in enumerate((files[0], files[len(files) // 2], files[-1])):
            image = cv2.imread(str(file), cv2.IMREAD_COLOR)
            if image is not None:
                tile[:side, slot * side : (slot + 1) * side] = cv2.resize(
                    image, (side, side), interpolation=cv2.INTER_AREA
                )
        missed = int((1 - outcome.coverage) * 3 * side)
        tile[side : side + 3, :missed] = (60, 60, 220)
        cv2.putText(
            tile,
            Path(outcome.name).name[:34],
            (1, side + 12),
            cv2.FONT_HERSHEY_SIMPLEX,
            0.33,
            (30, 30, 30),
            1,
            cv2.LINE_AA,
        )
        cells.append(tile)
    cells += [cell] * (-len(cells) % columns)
    rows = [np.concatenate(cells[i : i + columns], axis=1) for i in range(0, len(cells), columns)]
    ok, jpeg = cv2.imencode(".jpg", np.concatenate(rows), [cv2.IMWRITE_JPEG_QUALITY, 90])
    assert ok
    return jpeg.tobytes()
