"""To Lab Streaming Layer: an outlet for each face slot and one of markers, stamped with the frame's capture time.

Streams are irregular (a rate of 0): frames that are dropped or not taken leave holes, and a reader that draws one line
through the stamps of a regular stream would move exact times by a quarter of a second. Metadata are XDF's:
``channels/channel/{label,unit,type}`` and ``acquisition``.
"""

from __future__ import annotations

import argparse
import math
import os
import queue
import signal
import statistics
import tempfile
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from engine import settings
from engine.console import Exit
from engine.settings import SettingsError
from engine.text import say
from stream import __version__
from stream.apps.bridge.feed import Feed, Heard, extra, first_source
from stream.publish.message import Event, Eyes, Face, Faces, Model
from stream.publish.wire import boot_id

if TYPE_CHECKING:
    import pylsl

PREFIX = "DFER_BRIDGE_LSL_"
SIGNALS = (
    ("confidence", "normalized"), ("eye_left", "normalized"), ("eye_right", "normalized"), ("mouth", "normalized"),
    ("head_yaw", "degrees"), ("head_pitch", "degrees"), ("head_roll", "degrees"),
)  # fmt: skip
"""Channels after those of the classes, and their units; NaN where unseen."""
_MOST_WAITING = 1024
_CLOCK_EVERY_NS = 5_000_000_000
_SCOPE = "[multicast]\nResolveScope = machine\n"


@dataclass(frozen=True)
class LslSettings:
    """What is streamed, and to whom.

    Attributes:
        slots: Faces streamed at once, each on an outlet of its own; a face keeps its slot while it is followed.
        network: Let other machines find the streams; off, this one alone. LSL itself knows no keys.
    """

    slots: int = 1
    network: bool = False

    def __post_init__(self) -> None:
        if not 1 <= self.slots <= 16:
            raise SettingsError(f"slots must be 1..16, not {self.slots}")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of ``dfer-stream bridge lsl``."""
    settings.add_flags(parser, LslSettings)


def run(args: argparse.Namespace) -> int:
    """Stream until stopped; ``PARTLY`` where nothing was heard."""
    given = settings.flags_of(args, LslSettings)
    chosen = settings.load(LslSettings, None, os.environ, given, prefix=PREFIX).settings
    stopping = threading.Event()
    with tempfile.TemporaryDirectory() as folder:
        if not chosen.network and "LSLAPICFG" not in os.environ:
            # Read by the library when it is loaded.
            config = Path(folder) / "lsl_api.cfg"
            config.write_text(_SCOPE, "utf-8")
            os.environ["LSLAPICFG"] = str(config)
        extra("pylsl", "lsl")
        source = first_source(args, "lsl")
        if source is None:
            return Exit.PARTLY
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda *_: stopping.set())
        waiting: queue.Queue[Heard] = queue.Queue(_MOST_WAITING)
        with Feed(args, source, ("faces", "event"), lambda heard: _offer(waiting, heard)):
            _stream(Streams(source, chosen.slots), waiting, stopping, args.seconds)
    return Exit.DONE


def _offer(waiting: queue.Queue[Heard], heard: Heard) -> None:
    try:
        waiting.put_nowait(heard)
    except queue.Full:
        # Whoever is this far behind is better off with a hole, which the stamps show.
        say("dfer-stream bridge lsl: too slow, a message was left out")


def _stream(streams: Streams, waiting: queue.Queue[Heard], stopping: threading.Event, seconds: float | None) -> None:
    started_ns = time.monotonic_ns()
    while not stopping.is_set() and (seconds is None or time.monotonic_ns() - started_ns < seconds * 1e9):
        try:
            streams.take(waiting.get(timeout=0.1))
        except queue.Empty:
            continue


class Clock:
    """From this machine's CLOCK_MONOTONIC to LSL's clock."""

    def __init__(self) -> None:
        self._due_ns = 0
        self._offset_s = 0.0
        self._boot = boot_id()

    def stamp(self, t_ns: int, boot: str, late_ms: float | None) -> float:
        """A time on LSL's clock, s.

        Args:
            t_ns: CLOCK_MONOTONIC of the publisher.
            boot: The publisher's boot.
            late_ms: How long after it the message was sent: from another machine the arrival is all there is.
        """
        import pylsl

        if boot != self._boot:
            return float(pylsl.local_clock()) - (late_ms or 0.0) / 1e3
        now_ns = time.monotonic_ns()
        if now_ns >= self._due_ns:
            self._due_ns = now_ns + _CLOCK_EVERY_NS
            self._offset_s = statistics.median(_offset() for _ in range(9))
        return t_ns / 1e9 + self._offset_s


def _offset() -> float:
    import pylsl

    before_ns = time.monotonic_ns()
    lsl_s = float(pylsl.local_clock())
    return lsl_s - (before_ns + time.monotonic_ns()) / 2e9


class Streams:
    """The outlets of one source.

    Args:
        source: Its name.
        slots: How many faces are streamed at once.
    """

    def __init__(self, source: str, slots: int) -> None:
        self._source, self._clock = source, Clock()
        self._holders: list[str | None] = [None] * slots
        self._outlets: list[pylsl.StreamOutlet] = []
        self._labels: tuple[str, ...] = ()
        self._markers = self._marker_outlet()

    def take(self, heard: Heard) -> None:
        """Push what a message holds."""
        message = heard.message
        if isinstance(message, Event):
            at_ns = message.t_onset_ns if message.t_onset_ns is not None else message.t_publish_ns
            name = f"{message.event} {message.face}" if message.face else message.event
            self._mark(name, self._clock.stamp(at_ns, message.boot_id, 0.0))
        elif isinstance(message, Faces) and message.valid and message.t_capture_ns is not None:
            if message.model is not None and message.model.labels != self._labels:
                self._open(message.model)
            stamp = self._clock.stamp(message.t_capture_ns, message.boot_id, message.latency_ms.total)
            faces = {face.id: face for face in message.faces if face.state != "lost"}
            self._seat(faces, stamp)
            for holder, outlet in zip(self._holders, self._outlets, strict=False):
                if holder is not None:
                    outlet.push_sample(sample(faces[holder], self._labels), stamp)

    def _seat(self, faces: dict[str, Face], stamp: float) -> None:
        """Who is gone gives up the slot; who is new takes the first free one, the primary face before others."""
        for slot, holder in enumerate(self._holders):
            if holder is not None and holder not in faces:
                self._holders[slot] = None
                self._mark(f"slot{slot + 1}_free {holder}", stamp)
        new = [face for name, face in faces.items() if name not in self._holders]
        for face in sorted(new, key=lambda face: not face.primary):
            if None not in self._holders:
                return
            slot = self._holders.index(None)
            self._holders[slot] = face.id
            self._mark(f"slot{slot + 1}_taken {face.id}", stamp)

    def _open(self, model: Model) -> None:
        import pylsl

        self._labels = model.labels
        channels = [(label, "normalized", "Expression") for label in model.labels]
        channels += [(name, unit, "Face") for name, unit in SIGNALS]
        self._outlets.clear()
        for slot in range(len(self._holders)):
            name = f"dferstream {self._source} face {slot + 1}"
            info = pylsl.StreamInfo(
                name,
                "FacialExpression",
                len(channels),
                pylsl.IRREGULAR_RATE,
                pylsl.cf_float32,
                _uid(name, model.sha256),
            )
            described = info.desc().append_child("channels")
            for label, unit, kind in channels:
                channel = described.append_child("channel")
                for key, value in (("label", label), ("unit", unit), ("type", kind)):
                    channel.append_child_value(key, value)
            acquisition = info.desc().append_child("acquisition")
            for key, value in (
                ("manufacturer", "dferstream"), ("model", model.name), ("model_sha256", model.sha256),
                ("precision", model.precision), ("calibration", model.calibration or "softmax"),
                ("software_version", __version__), ("source", self._source), ("time_stamps", "frame capture"),
            ):  # fmt: skip
                acquisition.append_child_value(key, value)
            self._outlets.append(pylsl.StreamOutlet(info))
        say(f"streaming {len(self._outlets)} × {len(channels)} channels and markers of {self._source} over LSL")

    def _marker_outlet(self) -> pylsl.StreamOutlet:
        import pylsl

        name = f"dferstream {self._source} markers"
        info = pylsl.StreamInfo(name, "Markers", 1, pylsl.IRREGULAR_RATE, pylsl.cf_string, _uid(name, ""))
        channel = info.desc().append_child("channels").append_child("channel")
        channel.append_child_value("label", "event")
        channel.append_child_value("type", "Marker")
        return pylsl.StreamOutlet(info)

    def _mark(self, name: str, stamp: float) -> None:
        # An exact stamp of -1 would take the marker's before; there is none before the machine's start.
        self._markers.push_sample([name], max(stamp, 1e-9))


def sample(face: Face, labels: Sequence[str]) -> list[float]:
    """One sample of a face: classes, then :data:`SIGNALS`; NaN where unseen or not ready."""
    scores = (face.smoothed or face.probs or {}) if face.ready else {}
    eyes, head = face.eyes or Eyes(), face.head
    values = [scores.get(label) for label in labels]
    values += [face.confidence, eyes.left, eyes.right, face.mouth_open]
    values += [head.yaw, head.pitch, head.roll] if head else [None] * 3
    return [math.nan if value is None else float(value) for value in values]


def _uid(name: str, model: str) -> str:
    """The same across restarts, so that a recorder finds the stream again."""
    return f"{name} {model[:16]} {boot_id()}".replace(" ", "_")
