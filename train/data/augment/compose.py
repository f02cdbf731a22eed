"""Clips composed from stills, in feature space, with known truth about every frame.

The encoder is frozen while the head trains, so a clip is a choice of features: augmentations of one still are its true
frames; noise frames come from other stills and stand in runs at random positions. The kind of noise (neutral faces,
ambiguous faces, degraded faces) is drawn independently of the clip's label: noise alone says nothing about it.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from engine.spec import SEVEN_CLASSES, CropGeometry
from train.data.augment.still import AugmentConfig, augment, crop_matrices, render
from train.data.layouts.ferplus import Stills
from train.models.compact.encoder import FrameClassifier

MILD = AugmentConfig(
    turn_deg=4, zoom=0.05, shift=0.02, shear=0.03, unaligned=0.0, foreign_fill=0.3, degrade=0.08, occlude=0.05
)
"""What true frames suffer: a tracker's jitter and a fair camera."""
POOR = AugmentConfig(
    turn_deg=15, zoom=0.2, shift=0.1, shear=0.12, unaligned=0.3, foreign_fill=0.5, degrade=0.55, occlude=0.7
)
"""What degraded noise frames suffer."""
NOISE_KINDS = ("neutral", "ambiguous", "degraded")
MORPH_STEPS = 5
_PART = 128
"""Stills that are disturbed and encoded at a time."""


@dataclass(frozen=True)
class FeatureBank:
    """Features of stills, from which clips are composed.

    Attributes:
        clean: ``(N, K, D)`` float32, K mild augmentations of each still; the first is undisturbed.
        poor: ``(N, P, D)`` float32, degraded versions.
        logits: ``(N, K, C)`` float32, the encoder's own classifier on ``clean``.
        targets: ``(N, C)`` float32 soft labels.
        label: ``(N,)`` int64 plurality; -1 where there is none.
        morphs: ``(M, A, D)`` float32, cross-fades from a calm still to an expressive one in A equal steps.
        morph_ends: ``(M, 2)`` int64, the two stills of each.
    """

    clean: NDArray[np.float32]
    poor: NDArray[np.float32]
    logits: NDArray[np.float32]
    targets: NDArray[np.float32]
    label: NDArray[np.int64]
    morphs: NDArray[np.float32]
    morph_ends: NDArray[np.int64]

    @property
    def pools(self) -> tuple[NDArray[np.int64], ...]:
        """Stills that serve as noise of each kind."""
        neutral = np.flatnonzero(self.label == SEVEN_CLASSES.index("neutral"))
        ambiguous = np.flatnonzero(self.targets.max(1) < 0.5)
        return neutral, ambiguous, np.arange(len(self.label))


@torch.inference_mode()
def build_bank(
    model: FrameClassifier, stills: Stills, size_px: int, clean: int, poor: int, morphs: int, seed: int
) -> FeatureBank:
    """Encode augmentations and morphs of stills.

    Args:
        model: The trained encoder with its classifier.
        stills: Stills with at least one vote for the seven emotions each.
        size_px: Side of the crops.
        clean: K, mild augmentations per still, the undisturbed one included.
        poor: P, degraded versions per still.
        morphs: M, cross-fades.
        seed: Seed of everything random.

    Returns:
        The bank.
    """
    model.eval()
    device = next(model.parameters()).device
    geometry = CropGeometry(size_px=size_px)
    grey = torch.from_numpy(stills.grey).to(device)
    matrices = torch.from_numpy(crop_matrices(stills.points, geometry)).to(device)
    mean = np.median(stills.points, axis=0)[None].astype(np.float32)
    mean_matrix = torch.from_numpy(crop_matrices(mean, geometry))[0].to(device)

    def encode(crops: Tensor) -> Tensor:
        return model.encoder.encode_grey(crops).float().cpu()

    @torch.inference_mode()
    def versions(start: int) -> tuple[Tensor, Tensor]:
        """Clean and poor features of the stills from ``start`` on."""
        # Chance of its own: what comes out does not depend on how many threads there are.
        generator = torch.Generator(device).manual_seed(seed * 1_000_003 + start)
        part, where = grey[start : start + _PART], matrices[start : start + _PART]
        views = [render(part, where, size_px)]
        views += [augment(part, where, mean_matrix, size_px, MILD, generator) for _ in range(clean - 1)]
        worse = [augment(part, where, mean_matrix, size_px, POOR, generator) for _ in range(poor)]
        mild, bad = (torch.stack([encode(view) for view in some], 1) for some in (views, worse))
        return mild, bad

    @torch.inference_mode()
    def fade(pairs: NDArray[np.int64]) -> Tensor:
        """Features along the cross-fades between pairs of stills."""
        calm, strong = (render(grey[end], matrices[end], size_px) for end in pairs.T)
        return torch.stack([encode(calm * (1 - a) + strong * a) for a in torch.linspace(0, 1, MORPH_STEPS)], 1)

    # One thread per core on whole parts: small layers split over the cores gain little.
    with ThreadPoolExecutor(torch.get_num_threads(), initializer=torch.set_num_threads, initargs=(1,)) as pool:
        encoded = list(pool.map(versions, range(0, len(stills), _PART)))
        clean_features, poor_features = (torch.cat(some) for some in zip(*encoded, strict=True))
        seven, label = stills.seven, stills.plurality
        ends = _like_pairs(clean_features[:, 0].numpy(), label, morphs, np.random.default_rng(seed))
        morph_features = torch.cat(list(pool.map(fade, [ends[i : i + _PART] for i in range(0, morphs, _PART)])))
    logits = model.classify(clean_features.to(device)).float().cpu()
    return FeatureBank(
        clean=clean_features.numpy(), poor=poor_features.numpy(), logits=logits.numpy(),
        targets=seven / seven.sum(1, keepdims=True), label=label,
        morphs=morph_features.numpy(), morph_ends=ends,
    )  # fmt: skip


def _like_pairs(
    features: NDArray[np.float32], label: NDArray[np.int64], count: int, rng: np.random.Generator
) -> NDArray[np.int64]:
    """Pairs of a neutral still and the most alike of 32 random expressive ones: their morph looks like one face."""
    neutral = np.flatnonzero(label == SEVEN_CLASSES.index("neutral"))
    strong = np.flatnonzero((label >= 0) & (label != SEVEN_CLASSES.index("neutral")))
    rarity = 1 / np.sqrt(np.bincount(label[strong], minlength=len(SEVEN_CLASSES))[label[strong]])
    picked = rng.choice(strong, count, p=rarity / rarity.sum())
    offered = rng.choice(neutral, (count, 32))
    distance = ((features[offered] - features[picked][:, None]) ** 2).sum(-1)
    return np.stack([offered[np.arange(count), distance.argmin(1)], picked], 1)


@dataclass(frozen=True)
class Clips:
    """B composed clips of W frames, oldest first.

    Attributes:
        features: ``(B, W, D)`` float32.
        target: ``(B, C)`` float32, soft label of the clip.
        truth: ``(B, W)`` bool, the frames that carry the label.
        frame_target: ``(B, W, C)`` float32, soft label of each frame's own still.
        kind: ``(B,)`` int64, index into :data:`NOISE_KINDS`; -1 without noise.
    """

    features: NDArray[np.float32]
    target: NDArray[np.float32]
    truth: NDArray[np.bool_]
    frame_target: NDArray[np.float32]
    kind: NDArray[np.int64]


def noisy_order(window: int, noise: int, runs: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Which frames are noise, and of which run.

    Args:
        window: W.
        noise: Noise frames, 0..W.
        runs: Runs they form, each from one other face.
        rng: Source of chance.

    Returns:
        ``(W,)`` run index, -1 on true frames.
    """
    runs = min(runs, noise)
    if runs == 0:
        return np.full(window, -1)
    cuts = np.sort(rng.choice(np.arange(1, noise), runs - 1, replace=False)) if runs > 1 else np.array([], np.int64)
    lengths = np.diff([0, *cuts, noise])
    items = rng.permutation(np.concatenate([np.full(window - noise, -1), np.arange(runs)]))
    return np.repeat(items, [1 if item < 0 else lengths[item] for item in items])


def compose(
    bank: FeatureBank,
    faces: NDArray[np.int64],
    noise_frames: NDArray[np.int64],
    rng: np.random.Generator,
    window: int = 16,
    steady: float = 0.0,
) -> Clips:
    """Noisy clips of given faces.

    Args:
        bank: Features to compose from.
        faces: ``(B,)`` rows of the bank, the clips' true faces.
        noise_frames: ``(B,)`` noise frames of each clip.
        rng: Source of chance.
        window: W.
        steady: Probability that consecutive frames of one face keep their augmentation.

    Returns:
        The clips.
    """
    count, views = len(faces), bank.clean.shape[1]
    features = np.empty((count, window, bank.clean.shape[2]), np.float32)
    truth = np.empty((count, window), bool)
    frame_target = np.empty((count, window, bank.targets.shape[1]), np.float32)
    kinds = np.where(noise_frames > 0, rng.integers(len(NOISE_KINDS), size=count), -1)
    pools = bank.pools
    for row, face in enumerate(faces):
        run = noisy_order(window, int(noise_frames[row]), int(rng.integers(2, 4)), rng)
        view = rng.integers(views, size=window)
        kept = rng.random(window) < steady
        for t in range(1, window):
            if kept[t]:
                view[t] = view[t - 1]
        others = pools[kinds[row]]
        others = rng.choice(others[others != face], 3)
        source = np.where(run < 0, face, others[np.maximum(run, 0)])
        features[row] = bank.clean[source, view]
        if kinds[row] == NOISE_KINDS.index("degraded"):
            noisy = run >= 0
            features[row, noisy] = bank.poor[source[noisy], view[noisy] % bank.poor.shape[1]]
        truth[row] = run < 0
        frame_target[row] = bank.targets[source]
    return Clips(features, bank.targets[faces], truth, frame_target, kinds)


def compose_morphs(bank: FeatureBank, count: int, rng: np.random.Generator, window: int = 16) -> Clips:
    """Clips in which a calm face takes on an expression and may let it go again.

    A clip carries the expression where at least a quarter of its frames are past the middle of the fade; else it is
    calm.
    """
    rows = rng.integers(len(bank.morphs), size=count)
    time = np.arange(window)[None]
    onset, hold = rng.uniform(-4, window, (count, 1)), rng.uniform(2, window, (count, 1))
    ramp = rng.uniform(1, 5, (count, 1))
    fade = np.clip((time - onset) / ramp, 0, 1) * np.clip((onset + ramp + hold - time) / ramp, 0, 1)
    step = np.rint(fade * (MORPH_STEPS - 1)).astype(np.int64)
    calm, strong = (bank.targets[bank.morph_ends[rows, end]] for end in (0, 1))
    share = step[..., None] / (MORPH_STEPS - 1)
    frame_target = (1 - share) * calm[:, None] + share * strong[:, None]
    high = step * 2 >= MORPH_STEPS - 1
    carries = high.sum(1) * 4 >= window
    target = np.where(carries[:, None], strong, calm)
    truth = np.where(carries[:, None], high, ~high)
    return Clips(
        bank.morphs[rows[:, None], step], target.astype(np.float32), truth, frame_target.astype(np.float32),
        np.full(count, -1),
    )  # fmt: skip


def pad_prefixes(clips: Clips, share: float, rng: np.random.Generator) -> Clips:
    """Turn a share of the clips into young windows: a prefix padded with its oldest frame, as the daemon pads."""
    count, window = clips.truth.shape
    lengths = np.where(rng.random(count) < share, rng.integers(1, window, size=count), window)
    index = np.maximum(np.arange(window)[None] - (window - lengths[:, None]), 0)
    row = np.arange(count)[:, None]
    truth = clips.truth[row, index]
    # A prefix of noise alone carries its own frames' label.
    lost = ~truth.any(1)
    frame_target = clips.frame_target[row, index]
    target = np.where(lost[:, None], frame_target.mean(1), clips.target)
    return Clips(clips.features[row, index], target, truth | lost[:, None], frame_target, clips.kind)
