"""Encode, keep, score: each face's last samples, one feature per unit, the head over the ring.

Finished features never change, so a new sample costs one unit through the encoder and one run of the head, whatever
the length of the window. What is scored equals the offline model on the same padded window at every completed hop.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from engine.backends import Backend, Features
from engine.spec import ModelSpec

Crop = NDArray[np.uint8]
STARVED_SHARE = 0.5
"""A window with more than this share of repeated samples is not ready: most of it was never seen."""


@dataclass(frozen=True)
class WindowScore:
    """What the head said of one face's window.

    Attributes:
        logits: ``(C,)`` float32, raw.
        relevance: ``(T,)`` float32, oldest sample first, non-negative, sums to 1.
        now: ``(C,)`` float32 logits of the newest sample alone, where the model has them.
        t_ns: Capture time of the newest sample, CLOCK_MONOTONIC ns.
        frame_id: Frame of the newest sample.
        full: Whether every place of the scored window held a sample.
    """

    logits: NDArray[np.float32]
    relevance: NDArray[np.float32]
    now: NDArray[np.float32] | None
    t_ns: int
    frame_id: int
    full: bool = True


@dataclass(frozen=True)
class WindowState:
    """How full a face's window is.

    Attributes:
        n: Samples seen since the last reset, at most ``need``.
        need: T, samples of a full window.
        span_ms: Time between the window's oldest and newest sample.
        gaps: Samples of the window that repeat the one before them.
        score: The newest score, or None before the first.
    """

    n: int
    need: int
    span_ms: float
    gaps: int
    score: WindowScore | None

    @property
    def full(self) -> bool:
        """Whether every place of the window holds a sample of this face."""
        return self.n >= self.need

    @property
    def starved(self) -> bool:
        """Whether too much of the window is repetition."""
        return self.gaps > STARVED_SHARE * self.need


@dataclass
class _FaceWindow:
    """One face's place in the ring, its unfinished unit and the times of its samples."""

    slot: int
    tick: int
    seen_ns: int
    crops: deque[Crop]
    history: deque[tuple[int, bool]]  # (capture time ns, repeated)
    samples: int = 0
    score: WindowScore | None = None
    life: int = 0  # begins anew with every reset: what was encoded for an earlier life is dropped


@dataclass
class Hop:
    """One tick's work: units to encode in one call, whose they are, and whose windows are then scored.

    Attributes:
        t_ns: Capture time of the frame that was sampled.
        frame_id: Its number.
        faces: Faces that were sampled.
        units: ``(U, S, S, 3)`` uint8 each.
    """

    t_ns: int
    frame_id: int
    faces: int
    units: list[Crop] = field(default_factory=list)
    owners: list[tuple[_FaceWindow, int]] = field(default_factory=list)
    due: list[tuple[_FaceWindow, int]] = field(default_factory=list)


class FaceWindows:
    """The windows of all faces of one source; its state is reset per face by :meth:`reset`.

    Args:
        spec: The model's spec.
        backend: Where encoder and head run.
        faces: Most faces followed at once.
        stride: Samples taken per tick of ``spec.sample_hz``; the window takes every ``stride``-th feature. More than
            1 scores faster than the model's own rate and needs ``spec.unit == 1``.
    """

    def __init__(self, spec: ModelSpec, backend: Backend, faces: int, stride: int = 1) -> None:
        if stride < 1 or (stride > 1 and (spec.unit > 1 or spec.window == 1)):
            raise ValueError(
                f"stride {stride} needs a model with unit = 1 and window > 1 (this one: {spec.unit}, {spec.window})"
            )
        self.spec, self.stride = spec, stride
        self._backend, self._slots = backend, faces
        self._ring = backend.ring(faces, stride * spec.window)
        self._free = list(range(faces))[::-1]
        self._faces: dict[str, _FaceWindow] = {}

    @property
    def backend_name(self) -> str:
        """Which back end runs the model now."""
        return self._backend.name

    @property
    def encode_hz(self) -> float:
        """Samples per second of each face."""
        return self.spec.sample_hz * self.stride

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
                self._clear(face)
                restarted.append(face_id)
            if face_id in observed:
                face.seen_ns = t_ns
        return restarted

    def step(self, tick: int, crops: Mapping[str, Crop], t_ns: int, frame_id: int) -> None:
        """Take one sample of each given face, encode what became whole, and score where a hop was completed.

        The same as :meth:`begin`, :meth:`encode` and :meth:`finish`.

        Args:
            tick: Tick of the sample clock.
            crops: ``(S, S, 3)`` uint8 RGB by face id.
            t_ns: Capture time of the frame.
            frame_id: The frame's number.
        """
        hop = self.begin(tick, crops, t_ns, frame_id)
        self.finish(hop, self.encode(hop))

    def begin(self, tick: int, crops: Mapping[str, Crop], t_ns: int, frame_id: int) -> Hop:
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
        hop = Hop(t_ns, frame_id, len(crops))
        for face_id, crop in crops.items():
            face = self._faces.get(face_id) or self._admit(face_id, tick, t_ns)
            missed = tick - face.tick - 1 if face.samples else 0
            face.tick = tick
            hop_done = False
            for _ in range(missed):
                hop_done |= self._sample(face, face.crops[-1], t_ns, True, hop)
            hop_done |= self._sample(face, crop, t_ns, False, hop)
            if hop_done:
                hop.due.append((face, face.life))
        return hop

    def encode(self, hop: Hop) -> Features | None:
        """Features of the units, ``(B, D)``, or None where none became whole. Touches the back end alone.

        Raises:
            BackendError: If the device fails.
        """
        return self._backend.encode(np.stack(hop.units)) if hop.units else None

    def finish(self, hop: Hop, features: Features | None) -> None:
        """Put the features into their windows and score those that completed a hop.

        Faces that were reset since :meth:`begin` are left alone.

        Raises:
            BackendError: If the device fails.
        """
        if features is not None:
            for row, (face, life) in enumerate(hop.owners):
                if face.life == life:
                    self._ring.push(face.slot, features[row])
        due = [face for face, life in hop.due if face.life == life and self._ring.fill(face.slot)]
        if due:
            self._score(due, hop.t_ns, hop.frame_id)

    def state(self, face_id: str) -> WindowState:
        """How full the window of a face is, and its newest score."""
        need = self.spec.samples
        face = self._faces.get(face_id)
        if face is None or not face.samples:
            return WindowState(0, need, 0.0, 0, None)
        window = list(face.history)[:: -self.stride][:need]
        span_ms = (window[0][0] - window[-1][0]) / 1e6
        gaps = sum(repeated for _, repeated in window)
        return WindowState(min(self._held(face), need), need, span_ms, gaps, face.score)

    def _held(self, face: _FaceWindow) -> int:
        """Samples at the model's own rate since the last reset."""
        return (face.samples - 1) // self.stride + 1

    def reset(self, face_id: str) -> None:
        """Forget a face: its slot is free again."""
        face = self._faces.pop(face_id, None)
        if face is not None:
            face.life += 1
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
        self._ring = backend.ring(self._slots, self.stride * self.spec.window)

    def _admit(self, face_id: str, tick: int, t_ns: int) -> _FaceWindow:
        if not self._free:
            # More tracks than slots: the one unseen for longest makes room.
            self.reset(min(self._faces, key=lambda known: self._faces[known].seen_ns))
        slot = self._free.pop()
        self._ring.reset(slot)
        keep = self.spec.unit if self.spec.unit > 1 else 1
        face = _FaceWindow(slot, tick, t_ns, deque(maxlen=keep), deque(maxlen=self.spec.samples * self.stride))
        self._faces[face_id] = face
        return face

    def _clear(self, face: _FaceWindow) -> None:
        face.life += 1
        self._ring.reset(face.slot)
        face.crops.clear()
        face.history.clear()
        face.samples, face.score = 0, None

    def _sample(self, face: _FaceWindow, crop: Crop, t_ns: int, repeated: bool, hop: Hop) -> bool:
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
        hop.owners.append((face, face.life))
        hop.units.append(np.stack(unit))
        return True

    def _score(self, faces: list[_FaceWindow], t_ns: int, frame_id: int) -> None:
        index = np.stack([self._ring.index(face.slot, self.spec.window, self.stride) for face in faces])
        output = self._backend.head(self._ring.flat, index)
        for row, face in enumerate(faces):
            now = None if output.now is None else np.array(output.now[row], np.float32)
            relevance = np.maximum(np.nan_to_num(output.relevance[row]), 0).astype(np.float32)
            total = float(relevance.sum())
            relevance = relevance / total if total > 0 else np.full_like(relevance, 1 / relevance.size)
            logits = np.array(output.logits[row], np.float32)
            full = self._held(face) >= self.spec.samples
            face.score = WindowScore(logits, relevance, now, t_ns, frame_id, full)
