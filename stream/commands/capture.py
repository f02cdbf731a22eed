"""``dfer-stream capture``: aligned crops from one's own camera, for calibration and INT8 ranges, after asking.

Faces are kept only with the consent of the person before the camera, given by typing ``yes`` at a terminal. There is no
flag that answers in their place, and no capture without a terminal: consent that a script gives is none. Only the
primary face is kept, a banner shows all the while that faces are being kept, nothing is written before the end, and
Ctrl-C throws everything away.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.live import Live
from rich.text import Text

from engine.backends import open_artefact
from engine.console import Exit, stoppable
from engine.errors import DferError
from engine.files import place_file
from engine.settings.arguments import count, seconds
from engine.spec import ModelSpec
from stream.assemble import DEFAULT_BUNDLE
from stream.camera.camera import Camera
from stream.camera.frame import Frame
from stream.config import Settings, add_flags, load_settings
from stream.faces import FaceTracker, TrackedFace
from stream.faces.primary import primary_face
from stream.window.clock import SampleClock
from stream.window.crop import crop_face

Image = NDArray[np.uint8]
MOST_CROPS = 100_000
WAIT_S = 0.25


class CaptureError(DferError):
    """A capture that cannot begin or end well; the message carries the remedy."""


@dataclass(frozen=True)
class Consent:
    """What a person agreed to; kept beside the crops.

    Attributes:
        notice: What they read.
        answer: What they typed.
        utc: When, ISO 8601.
        source: The camera, without its credentials.
    """

    notice: str
    answer: str
    utc: str
    source: str


@dataclass
class Kept:
    """Crops kept so far, in memory alone.

    Attributes:
        unit: U, samples of one unit; a unit is made of one face's successive samples.
        units: Units of ``(U, S, S, 3)`` uint8 RGB.
        times_s: Time of each unit's newest sample, s since the first frame.
    """

    unit: int
    units: list[Image] = field(default_factory=list)
    times_s: list[float] = field(default_factory=list)
    _open: list[Image] = field(default_factory=list)
    _face: str | None = None

    def add(self, face_id: str, crop: Image, t_s: float) -> None:
        """Take a sample; a unit never mixes two faces."""
        if face_id != self._face:
            self._open, self._face = [], face_id
        self._open.append(crop)
        if len(self._open) == self.unit:
            self.units.append(np.stack(self._open))
            self.times_s.append(t_s)
            self._open = []


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of ``dfer-stream capture``."""
    parser.add_argument("out", type=Path, metavar="OUT", help="a file ending in .npz, or a new folder for PNG files")
    parser.add_argument(
        "--count", type=count(MOST_CROPS), default=200, help="units of crops to keep (default: %(default)s)"
    )
    parser.add_argument("--seconds", type=seconds, help="stop after this long, with what there is")
    parser.add_argument("--show", action="store_true", help="show the picture, with the banner across it")
    add_flags(parser, ("source", "camera", "faces", "model"))


def run(args: argparse.Namespace) -> int:
    """Ask, capture, save."""
    settings = load_settings(args).settings
    _check_target(args.out)
    spec = open_artefact(settings.model.engine or settings.model.bundle or DEFAULT_BUNDLE).spec
    with stoppable(lambda: "stopped: nothing was saved"):
        consent = ask_consent(settings, args)
        kept = _capture(settings, spec, args)
        save(args.out, kept, spec, consent)
    size = "crops" if spec.unit == 1 else f"units of {spec.unit} crops"
    print(f"{len(kept.units)} {size} of {spec.crop.size_px} px → {args.out}; delete it when it is no longer needed")
    return Exit.DONE


def ask_consent(settings: Settings, args: argparse.Namespace) -> Consent:
    """Say what will be kept, and ask for it.

    Raises:
        CaptureError: Without a terminal, or where the answer is anything but ``yes``.
    """
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        raise CaptureError(
            "pictures of a face need the consent of the person",
            "run it at a terminal; no flag answers in their place",
        )
    source = Camera(settings.source.uri, settings.camera).uri
    notice = (
        f"Pictures of your face will be taken from {source} and kept in {args.out}\n"
        f"(up to {args.count}, of the largest face alone), to calibrate an expression model on this machine.\n"
        "They leave this machine only if you copy them. Ctrl-C at any moment throws them away.\n"
    )
    print(notice + "Does the person before the camera agree? Type yes: ", end="", file=sys.stderr, flush=True)
    if sys.stdin.readline().strip().lower() != "yes":
        raise CaptureError("no consent: nothing was captured")
    now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    return Consent(notice, "yes", now, str(source))


def _capture(settings: Settings, spec: ModelSpec, args: argparse.Namespace) -> Kept:
    tracker = FaceTracker(settings.faces)
    clock, kept = SampleClock(spec.sample_hz), Kept(spec.unit)
    begun_ns = time.monotonic_ns()
    first_ns: int | None = None
    console = Console(stderr=True)
    show = _window() if args.show else None
    with Live(_banner(0, args.count), console=console, refresh_per_second=4) as live:
        try:
            with Camera(settings.source.uri, settings.camera) as camera:
                while len(kept.units) < args.count and camera.state != "ended":
                    if args.seconds is not None and time.monotonic_ns() - begun_ns >= args.seconds * 1e9:
                        break
                    frame = camera.read(WAIT_S)
                    if frame is None:
                        continue
                    first_ns = frame.t_capture_ns if first_ns is None else first_ns
                    face = _primary(tracker, frame, settings)
                    if clock.advance(frame.t_capture_ns) is not None and face is not None:
                        assert face.points5 is not None
                        crop = crop_face(frame.image, face.points5, spec.crop)
                        kept.add(face.id, crop, (frame.t_capture_ns - first_ns) / 1e9)
                    live.update(_banner(len(kept.units), args.count))
                    if show is not None and not show(frame, face):
                        break
        finally:
            if show is not None:
                cv2.destroyAllWindows()
    if not kept.units:
        raise CaptureError("no face was seen: nothing was saved")
    return kept


def _primary(tracker: FaceTracker, frame: Frame, settings: Settings) -> TrackedFace | None:
    """The face that is kept: bystanders have not been asked."""
    found = tracker.step(frame.image, frame.t_capture_ns).faces
    seen = {face.id: face for face in found if face.state in ("new", "tracked") and face.points5 is not None}
    height, width = frame.image.shape[:2]
    chosen = primary_face(((face.id, face.box) for face in seen.values()), settings.source.roi, width, height)
    return None if chosen is None else seen[chosen]


def save(out: Path, kept: Kept, spec: ModelSpec, consent: Consent) -> None:
    """Write the crops so that all of them appear or none, readable by their owner alone.

    Args:
        out: ``.npz``: arrays ``crops`` ``(n, U, S, S, 3)`` uint8 RGB, ``times_s`` ``(n,)`` float64, ``about`` (JSON).
            Else a folder: ``000000.png`` and so on, one per crop, and ``about.json``; ``dfer-stream score OUT
            --faces --align none`` reads it.
        kept: The crops.
        spec: Whose geometry they have.
        consent: What was agreed to.
    """
    about = json.dumps(
        {"consent": asdict(consent), "model": spec.name, "crop": spec.to_dict()["crop"], "unit": spec.unit}
    )
    room = Path(tempfile.mkdtemp(prefix=f".{out.name}.", dir=out.absolute().parent))  # of mode 700
    try:
        if out.suffix.lower() == ".npz":
            file = room / "crops.npz"
            times = np.asarray(kept.times_s, np.float64)
            np.savez_compressed(file, crops=np.stack(kept.units), times_s=times, about=np.array(about))
            place_file(file, out, 0o600)
            return
        (room / "about.json").write_text(about + "\n", "utf-8")
        for number, crop in enumerate(crop for unit in kept.units for crop in unit):
            if not cv2.imwrite(str(room / f"{number:06d}.png"), cv2.cvtColor(crop, cv2.COLOR_RGB2BGR)):
                raise CaptureError(f"{out}: a picture cannot be written", "is the disk full?")
        room.replace(out)
    finally:
        shutil.rmtree(room, ignore_errors=True)


def _check_target(out: Path) -> None:
    """Refuse what would be lost or could not be written, before anyone is asked for consent."""
    if out.exists() and not (out.is_dir() and out.suffix.lower() != ".npz" and not any(out.iterdir())):
        raise CaptureError(f"{out} exists", "remove it, or choose another name")
    if not out.absolute().parent.is_dir():
        raise CaptureError(f"the folder {out.absolute().parent} does not exist", "make it, or choose another name")


def _banner(have: int, want: int) -> Text:
    lit = time.monotonic_ns() // 500_000_000 % 2 == 0
    text = Text(" ● " if lit else "   ", style="bold red")
    text.append(" FACES ARE BEING KEPT ", style="bold white on red")
    return text.append(f"  {have} of {want}   Ctrl-C: stop and throw away")


def _window() -> Callable[[Frame, TrackedFace | None], bool]:
    """A window with the picture and the banner; what it returns is False once it was closed.

    Raises:
        OverlayError: If there is no display.
    """
    from stream.show.overlay.window import check_display

    check_display()
    title = "dferstream capture"
    cv2.namedWindow(title, cv2.WINDOW_NORMAL | cv2.WINDOW_KEEPRATIO)

    def show(frame: Frame, face: TrackedFace | None) -> bool:
        picture = cv2.cvtColor(frame.image, cv2.COLOR_RGB2BGR)
        red = (40, 40, 220)
        cv2.rectangle(picture, (0, 0), (picture.shape[1], 36), red, -1)
        cv2.putText(picture, "FACES ARE BEING KEPT", (10, 26), cv2.FONT_HERSHEY_SIMPLEX, 0.8, (255, 255, 255), 2)
        if face is not None:
            x, y, w, h = (round(value) for value in face.box)
            cv2.rectangle(picture, (x, y), (x + w, y + h), red, 2)
        cv2.imshow(title, picture)
        closed = (cv2.waitKey(1) & 0xFF) in (ord("q"), 27)
        return not closed and cv2.getWindowProperty(title, cv2.WND_PROP_VISIBLE) >= 1

    return show
