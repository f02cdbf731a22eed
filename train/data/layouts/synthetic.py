"""Synthetic clips whose frame-level truth is known: which frames carry the clip's expression.

Faces are drawn from parameters (`train.data.layouts.drawn_face`), so nothing licensed is needed. In every clip
some frames show the
labelled expression and the rest are noise. The *kind* of noise is drawn independently of the label, as are identity,
order, number and look of the noise frames, so a classifier that sees only noise frames scores chance; a test holds
that. Figures from this set are called synthetic, never DFEW, FERV39k or MAFW accuracy.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from engine.spec import SEVEN_CLASSES
from train.data.layouts.drawn_face import EXPRESSIONS, Identity, draw_face, draw_identity, random_blend, random_pose
from train.data.record import DataError

NOISE_KINDS = ("neutral", "ambiguous", "degraded")


@dataclass(frozen=True)
class SyntheticSettings:
    """Composition of a synthetic set; with the seed it fixes every pixel.

    Attributes:
        clips: Number of clips; classes are balanced to within one.
        frames: Frames per clip.
        noise: Share of frames that do not show the expression, [0, 1).
        identities: Number of different faces, each in ``clips / identities`` clips.
        first_identity: Number of the first face: disjoint ranges make identity-disjoint sets.
        size_px: Side of a frame, px.
        seed: Of everything that is drawn.
    """

    clips: int = 1400
    frames: int = 16
    noise: float = 0.75
    identities: int = 350
    first_identity: int = 0
    size_px: int = 32
    seed: int = 20260101

    def __post_init__(self) -> None:
        if self.clips < 1 or self.frames < 1 or self.identities < 1:
            raise DataError("a synthetic set needs at least one clip, frame and identity")
        if not 0 <= self.noise < 1:
            raise DataError(f"noise must be in [0, 1), not {self.noise}")
        if not 16 <= self.size_px <= 512:
            raise DataError(f"size_px must be 16..512, not {self.size_px}")


TRAIN_SET = SyntheticSettings()
"""The training set that the figures in `train/README.md` are measured on."""

TEST_SET = SyntheticSettings(clips=420, identities=105, first_identity=1000, seed=20260102)
"""Its held-out set: other faces, other seed."""

LARGE_TRAIN_SET = SyntheticSettings(clips=5600, identities=5600, first_identity=2000, seed=20260103)
"""A larger training set for encoders that learn slowly from random weights: every clip has a face of its own."""


@dataclass(frozen=True)
class SyntheticClip:
    """One synthetic clip.

    Attributes:
        name: Unique within any sets of different seeds.
        label: Class name.
        group: The identity's name.
        noise_kind: One of :data:`NOISE_KINDS`.
        truth: ``(n,)`` bool, which frames show the expression.
        frames: ``(n, S, S, 3)`` uint8 RGB.
    """

    name: str
    label: str
    group: str
    noise_kind: str
    truth: NDArray[np.bool_]
    frames: NDArray[np.uint8]

    @property
    def localisable(self) -> bool:
        """Whether truth and noise differ: a neutral clip with neutral noise has nothing to find."""
        return bool(self.truth.any() and not self.truth.all()) and not (
            self.label == "neutral" and self.noise_kind == "neutral"
        )


@dataclass(frozen=True)
class _Plan:
    label: str
    identity: int
    noise_kind: str
    truth: NDArray[np.bool_]
    seed: int


class SyntheticClips:
    """A set of synthetic clips, drawn when asked for; the same settings give the same pixels everywhere.

    Args:
        settings: The composition.
    """

    def __init__(self, settings: SyntheticSettings) -> None:
        self.settings = settings
        self.labels = SEVEN_CLASSES
        rng = np.random.default_rng(settings.seed)
        # Labels are dealt evenly and shuffled *before* anything else is drawn; nothing below reads them.
        order = np.arange(settings.clips) % len(self.labels)
        rng.shuffle(order)
        identities = settings.first_identity + rng.permutation(np.arange(settings.clips) % settings.identities)
        kinds = rng.integers(0, len(NOISE_KINDS), settings.clips)
        self._plans = [
            _Plan(
                label=self.labels[int(order[i])],
                identity=int(identities[i]),
                noise_kind=NOISE_KINDS[int(kinds[i])],
                truth=_draw_truth(settings.frames, settings.noise, rng),
                seed=int(rng.integers(0, 2**62)),
            )
            for i in range(settings.clips)
        ]

    def __len__(self) -> int:
        return len(self._plans)

    def __getitem__(self, index: int) -> SyntheticClip:
        plan = self._plans[index]
        frames = _draw_clip(plan, self.settings.size_px)
        return SyntheticClip(
            f"synthetic-{self.settings.seed}-{index:05d}",
            plan.label,
            f"face-{plan.identity}",
            plan.noise_kind,
            plan.truth,
            frames,
        )

    def composition(self) -> str:
        """SHA-256 over settings, labels, identities, noise kinds, truth and per-clip seeds: the set's name."""
        rows = [
            (plan.label, plan.identity, plan.noise_kind, plan.truth.astype(int).tolist(), plan.seed)
            for plan in self._plans
        ]
        text = json.dumps([asdict(self.settings), rows], separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()


def _draw_truth(frames: int, noise: float, rng: np.random.Generator) -> NDArray[np.bool_]:
    """One run of true frames at a uniformly random place; at least one frame is true."""
    count = max(1, round(frames * (1 - noise)))
    start = int(rng.integers(0, frames - count + 1))
    truth = np.zeros(frames, bool)
    truth[start : start + count] = True
    return truth


def _draw_clip(plan: _Plan, size_px: int) -> NDArray[np.uint8]:
    rng = np.random.default_rng(plan.seed)
    # Two streams: what noise frames look like must not depend on how many draws the expression took.
    noise_rng, truth_rng, pose_rng = rng.spawn(3)
    identity = draw_identity(plan.identity)
    pose = random_pose(pose_rng)
    frames = []
    run: NDArray[np.float64] | None = None
    for shows in plan.truth:
        pose = pose.step(pose_rng)
        if shows:
            run = None
            movement = EXPRESSIONS[plan.label] * truth_rng.uniform(0.7, 1.0) + truth_rng.normal(0, 0.03, 9)
            frames.append(draw_face(identity, movement, pose, size_px))
            continue
        if run is None or noise_rng.random() < 0.25:
            run = _noise_movement(plan.noise_kind, noise_rng)
        movement = run + noise_rng.normal(0, 0.03, 9)
        image = draw_face(identity, movement, pose, size_px)
        frames.append(_degrade(image, noise_rng) if plan.noise_kind == "degraded" else image)
    return np.stack(frames)


def _noise_movement(kind: str, rng: np.random.Generator) -> NDArray[np.float64]:
    """Facial movement of a run of noise frames, independent of the clip's label."""
    if kind == "neutral":
        return np.zeros(9)
    if kind == "ambiguous":
        return random_blend(rng)
    # Degraded: any expression at all, since it can hardly be seen.
    return EXPRESSIONS[SEVEN_CLASSES[int(rng.integers(0, len(SEVEN_CLASSES)))]] * rng.uniform(0.7, 1.0)


def _degrade(image: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
    """Blur, darkness, sensor noise and a bar across the face, together."""
    size = image.shape[0]
    blurred = cv2.GaussianBlur(image, (0, 0), size * float(rng.uniform(0.05, 0.09)))
    dark = blurred.astype(np.float64) * rng.uniform(0.25, 0.6) + rng.normal(0, 18, image.shape)
    top = int(rng.uniform(0.2, 0.7) * size)
    dark[top : top + size // 4] = rng.uniform(0, 255)
    return np.asarray(np.clip(dark, 0, 255), np.uint8)


def noise_only(clip: SyntheticClip, rng: np.random.Generator, samples: int) -> NDArray[np.uint8]:
    """A window of the clip's noise frames alone, for the control that must score chance.

    Args:
        clip: A clip with at least one noise frame.
        rng: Draws which frames fill the window.
        samples: T.

    Returns:
        ``(T, S, S, 3)`` uint8, in order of time.
    """
    noise = np.flatnonzero(~clip.truth)
    return np.asarray(clip.frames[np.sort(rng.choice(noise, samples, replace=True))], np.uint8)


__all__ = [
    "LARGE_TRAIN_SET",
    "NOISE_KINDS",
    "TEST_SET",
    "TRAIN_SET",
    "Identity",
    "SyntheticClip",
    "SyntheticClips",
    "SyntheticSettings",
    "noise_only",
]
