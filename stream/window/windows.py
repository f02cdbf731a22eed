"""Encode, keep, score: each face's last samples, one feature per unit, the head over the ring.

Finished features never change, so a new sample costs one unit through the encoder and one run of the head, whatever
the length of the window. What is scored equals the offline model on the same padded window at every completed hop.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from engine.backends import Backend, Features
from engine.ring import FeatureRing
from engine.spec import ModelSpec
from stream.window.result import WindowReport, WindowScore
from stream.window.shared_ring import RingShare, SharedRing
from stream.window.state import Crop, EncodeBatch, FaceWindowState


class FaceWindows:
    """The windows of all faces of one source; its state is reset per face by :meth:`reset`.

    Args:
        spec: The model's spec.
        backend: Where encoder and head run.
        faces: Most faces followed at once.
        stride: Samples taken per tick of ``spec.sample_hz``; the window takes every ``stride``-th feature. More than
            1 scores faster than the model's own rate and needs ``spec.unit == 1``.
        share: Of a ring that the windows of other cameras are in as well; a ring of its own where None.
    """

    def __init__(
        self, spec: ModelSpec, backend: Backend, faces: int, stride: int = 1, share: RingShare | None = None
    ) -> None:
        if stride < 1 or (stride > 1 and (spec.unit > 1 or spec.window == 1)):
            raise ValueError(
                f"stride {stride} needs a model with unit = 1 and window > 1 (this one: {spec.unit}, {spec.window})"
            )
        self.spec, self.stride = spec, stride
        self._backend = backend
        self._share = share or RingShare(SharedRing(backend, faces, stride * spec.window), range(faces))
        self._free = list(self._share.slots)[::-1]
        self._faces: dict[str, FaceWindowState] = {}

    @property
    def _ring(self) -> FeatureRing:
        return self._share.of.ring

    @property
    def backend_name(self) -> str:
        """Which back end runs the model now."""
        return self._backend.name

    @property
    def encode_hz(self) -> float:
        """Samples per second of each face."""
        return self.spec.sample_hz * self.stride

    @property
    def hop_s(self) -> float:
        """Time between two scores of a face, s."""
        return self.spec.hop / self.encode_hz

    @property
    def delay_s(self) -> float:
        """Longest time from a sample to the first score that rests on nothing before it, s: a window, then a hop."""
        return (self.spec.samples - 1) / self.spec.sample_hz + (self.spec.hop - 1) / self.encode_hz

    def observe(self, face_ids: Iterable[str], t_ns: int, gap_limit_ns: int) -> list[str]:
        """Note which faces this frame shows; a face unseen for longer than the limit starts its window anew.

        Args:
            face_ids: Faces observed in this frame, sampled or not.
            t_ns: Capture time of the frame.
            gap_limit_ns: Longest time without an observation that a window survives.

        Returns:
            Ids of the faces whose window starts anew.
        """
        observed = set(face_ids)
        restarted = []
        for face_id, face in self._faces.items():
            if face.samples and t_ns - face.seen_ns > gap_limit_ns:
                self._faces[face_id] = face = self._begin_anew(face)
                restarted.append(face_id)
            if face_id in observed:
                face.seen_ns = t_ns
        return restarted

    def step(self, tick: int, crops: Mapping[str, Crop], t_ns: int, frame_id: int) -> None:
        """Take one sample of each given face, encode what became whole, and score where a hop was completed.

        The same as :meth:`begin`, :meth:`encode` and :meth:`finish`.
        """
        batch = self.begin(tick, crops, t_ns, frame_id)
        self.finish(batch, self.encode(batch))

    def begin(self, tick: int, crops: Mapping[str, Crop], t_ns: int, frame_id: int) -> EncodeBatch:
        """Take one sample of each given face. The step before must have been finished.

        Ticks missed since a face's last sample repeat that sample.

        Args:
            tick: Tick of the sample clock.
            crops: ``(S, S, 3)`` uint8 RGB by face id.
            t_ns: Capture time of the frame.
            frame_id: The frame's number.

        Returns:
            What is to be encoded and scored.
        """
        batch = EncodeBatch(t_ns, frame_id, len(crops))
        for face_id, crop in crops.items():
            face = self._faces.get(face_id) or self._admit(face_id, tick, t_ns)
            missed = tick - face.tick - 1 if face.samples else 0
            face.tick = tick
            hop_done = False
            for _ in range(missed):
                hop_done |= self._sample(face, face.crops[-1], t_ns, True, batch)
            hop_done |= self._sample(face, crop, t_ns, False, batch)
            if hop_done:
                batch.due.append(face)
        return batch

    def encode(self, batch: EncodeBatch) -> Features | None:
        """Features of the units, ``(B, D)``, or None where none became whole. Touches the back end alone.

        Raises:
            BackendError: If the device fails.
        """
        if not batch.units:
            return None
        with self._share.of.encoding:
            return self._backend.encode(np.stack(batch.units))

    def finish(self, batch: EncodeBatch, features: Features | None) -> None:
        """Put the features into their windows and score those that completed a hop.

        Faces that were reset since :meth:`begin` are left alone.

        Raises:
            BackendError: If the device fails.
        """
        finish_together([WindowStep(self, batch)], features)

    def _push(self, batch: EncodeBatch, features: Features | None, start: int) -> list[FaceWindowState]:
        """Put features, from row `start` on, into their windows; gives the faces to be scored."""
        if features is not None:
            for row, face in enumerate(batch.owners):
                if face.live:
                    self._ring.push(face.slot, features[start + row])
        return [face for face in batch.due if face.live and self._ring.fill(face.slot)]

    def report(self, face_id: str) -> WindowReport:
        """How full the window of a face is, and its newest score."""
        need = self.spec.samples
        face = self._faces.get(face_id)
        if face is None or not face.samples:
            return WindowReport(0, need, 0.0, 0, None)
        window = list(face.history)[:: -self.stride][:need]
        span_ms = (window[0][0] - window[-1][0]) / 1e6
        gaps = sum(repeated for _, repeated in window)
        return WindowReport(min(self._held(face), need), need, span_ms, gaps, face.score)

    def _held(self, face: FaceWindowState) -> int:
        """Samples at the model's own rate since the last reset."""
        return (face.samples - 1) // self.stride + 1

    def reset(self, face_id: str) -> None:
        """Forget a face: its slot is free again."""
        face = self._faces.pop(face_id, None)
        if face is not None:
            face.live = False
            self._ring.reset(face.slot)
            self._free.append(face.slot)

    def reset_all(self) -> None:
        """Forget every face: a cut, a lost camera or a changed back end."""
        for face_id in list(self._faces):
            self.reset(face_id)

    def replace_backend(self, backend: Backend) -> None:
        """Go on with another back end; features of two back ends never mix, so every window starts anew."""
        self.reset_all()
        self._backend = backend
        self._share.of.replace(backend)

    def _admit(self, face_id: str, tick: int, t_ns: int) -> FaceWindowState:
        if not self._free:
            # More tracks than slots: the one unseen for longest makes room.
            self.reset(min(self._faces, key=lambda known: self._faces[known].seen_ns))
        self._faces[face_id] = face = self._begin(self._free.pop(), tick, t_ns)
        return face

    def _begin_anew(self, face: FaceWindowState) -> FaceWindowState:
        face.live = False
        return self._begin(face.slot, face.tick, face.seen_ns)

    def _begin(self, slot: int, tick: int, t_ns: int) -> FaceWindowState:
        self._ring.reset(slot)
        history = deque[tuple[int, bool]](maxlen=self.spec.samples * self.stride)
        return FaceWindowState(slot, tick, t_ns, deque(maxlen=self.spec.unit), history)

    def _sample(self, face: FaceWindowState, crop: Crop, t_ns: int, repeated: bool, batch: EncodeBatch) -> bool:
        """Add one sample; returns whether it completed a hop."""
        spec = self.spec
        face.crops.append(crop)
        face.history.append((t_ns, repeated))
        face.samples += 1
        if spec.unit == 1 and repeated:
            self._ring.repeat(face.slot)
            return True
        if face.samples % spec.hop:
            return False
        # Only a window of one unit (W = 1) encodes before the unit is full: padded with its oldest crop at the old end.
        unit = [face.crops[0]] * (spec.unit - len(face.crops)) + list(face.crops)
        batch.owners.append(face)
        batch.units.append(np.stack(unit))
        return True

    def _windows_of(self, faces: list[FaceWindowState]) -> list[NDArray[np.int32]]:
        return [self._ring.index(face.slot, self.spec.window, self.stride) for face in faces]


@dataclass(frozen=True)
class WindowStep:
    """One camera's part of a step: its windows, and this tick's work on them."""

    windows: FaceWindows
    batch: EncodeBatch


def step_together(steps: Sequence[WindowStep]) -> None:
    """Encode and score the ticks of several cameras, which share a ring, in one call each; as each by itself.

    Raises:
        BackendError: If the device fails.
    """
    batch = EncodeBatch(0, 0, 0, units=[unit for step in steps for unit in step.batch.units])
    finish_together(steps, steps[0].windows.encode(batch))


def finish_together(steps: Sequence[WindowStep], features: Features | None) -> None:
    """Put features, camera by camera, into their windows, and score those that completed a hop."""
    start, due = 0, list[tuple[WindowStep, list[FaceWindowState]]]()
    for step in steps:
        due.append((step, step.windows._push(step.batch, features, start)))
        start += len(step.batch.units)
    index = [row for step, faces in due for row in step.windows._windows_of(faces)]
    if not index:
        return
    first = steps[0].windows
    output = first._backend.head(first._ring.flat, np.stack(index))
    row = 0
    for step, faces in due:
        for face in faces:
            full = step.windows._held(face) >= first.spec.samples
            face.score = WindowScore.of(output, row, step.batch.t_ns, step.batch.frame_id, full)
            row += 1
