"""What is trained on, and how it is varied."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from engine.settings import SettingsError
from train.settings.checks import in_range


@dataclass(frozen=True)
class DataSettings:
    """What is trained on.

    Attributes:
        source: ``dfew``, ``ferv39k``, ``mafw``, ``clips`` or ``synthetic``.
        root: The data set's folder (or CSV file); not needed for ``synthetic``.
        fold: From 1.
        split: ``official``, or ``grouped``: all clips dealt anew into `folds` folds by group.
        folds: Number of folds of a grouped split.
        validation: Share of the training clips cut off for validation, by group where groups are known; 0: none.
        padding: ``oldest-first`` as the daemon pads, or ``paper-protocol`` (repeat the last frame).
        prefix: Probability that a training window is only a beginning, filled at the front.
        workers: Loader processes per training process.
        verify: What is decoded before the run: the ``first`` frame of each folder and all of each video, ``all``
            frames, or ``none``.
        clips: Synthetic: number of training clips, 0 for the committed set. A smaller number shrinks the test part with
            it; a larger one leaves it and gives every training clip a face of its own.
        noise: Synthetic: share of noise frames.
        size_px: Synthetic: side of a frame.
    """

    source: Literal["dfew", "ferv39k", "mafw", "clips", "synthetic"] = "clips"
    root: str = ""
    fold: int = 1
    split: Literal["official", "grouped"] = "official"
    folds: int = 5
    validation: float = 0.1
    padding: Literal["oldest-first", "paper-protocol"] = "oldest-first"
    prefix: float = 0.2
    workers: int = 4
    verify: Literal["first", "all", "none"] = "first"
    clips: int = 0
    noise: float = 0.75
    size_px: int = 32

    def __post_init__(self) -> None:
        in_range("fold", self.fold, 1, 100)
        in_range("folds", self.folds, 2, 100)
        in_range("validation", self.validation, 0, 0.9)
        in_range("prefix", self.prefix, 0, 1)
        in_range("workers", self.workers, 0, 256)
        in_range("clips", self.clips, 0, 10**7)
        in_range("noise", self.noise, 0, 0.99)


@dataclass(frozen=True)
class AugmentSettings:
    """How strongly training clips are varied.

    Attributes:
        crop_scale: Range of the kept area's share, (0, 1]; 1, 1 keeps all.
        crop_ratio: Largest aspect ratio of the kept area; its inverse is the smallest.
        rotation_deg: Largest rotation either way, degrees.
        flip: Probability of mirroring, [0, 1].
        brightness: Largest relative change, [0, 1).
        contrast: Largest relative change, [0, 1).
        saturation: Largest relative change, [0, 1).
        hue_deg: Largest turn of the hue, degrees.
        grey: Probability of a grey clip.
        infrared: Probability of a near-infrared-like clip.
    """

    crop_scale: tuple[float, float] = (0.8, 1.0)
    crop_ratio: float = 1.1
    rotation_deg: float = 6.0
    flip: float = 0.5
    brightness: float = 0.3
    contrast: float = 0.3
    saturation: float = 0.3
    hue_deg: float = 8.0
    grey: float = 0.1
    infrared: float = 0.05

    def __post_init__(self) -> None:
        low, high = self.crop_scale
        if not 0 < low <= high <= 1:
            raise SettingsError(f"crop_scale must satisfy 0 < low <= high <= 1, not {self.crop_scale}")
        in_range("crop_ratio", self.crop_ratio, 1, 100)
        for name in ("flip", "grey", "infrared"):
            in_range(name, getattr(self, name), 0, 1)
        for name in ("brightness", "contrast", "saturation"):
            in_range(name, getattr(self, name), 0, 0.999)
        in_range("rotation_deg", self.rotation_deg, 0, 180)
        in_range("hue_deg", self.hue_deg, 0, 180)


@dataclass(frozen=True)
class MixSettings:
    """Mixing of clips within a batch.

    Attributes:
        mixup: alpha of Mixup's Beta distribution (Zhang et al., ICLR 2018); 0: off.
        fmix: alpha of FMix's (Harris et al., arXiv:2002.12047); 0: off.
        switch: Probability of FMix where both are on.
        decay: Power of FMix's frequency decay.
    """

    mixup: float = 0.0
    fmix: float = 0.0
    switch: float = 0.5
    decay: float = 3.0

    def __post_init__(self) -> None:
        in_range("mixup", self.mixup, 0, 100)
        in_range("fmix", self.fmix, 0, 100)
        in_range("switch", self.switch, 0, 1)
        in_range("decay", self.decay, 0.1, 10)
