"""Settings of training on stills: which are shown, and what their targets are made of."""

from __future__ import annotations

from dataclasses import dataclass

from train.settings.checks import in_range


@dataclass(frozen=True)
class StillSettings:
    """Which stills are shown, how often and how.

    Attributes:
        rare: Power of a class's rarity in its stills' sampling weight: 0 samples evenly, 1 balances the classes.
        original: Weight of FER2013's original label beside the votes in that rarity. Targets stay votes, but more than
            twice as many stills were once labelled disgust as voters agree on, and the class lies between the two.
        slips: Votes for a class that are taken as a slip of the hand where there are no more of them and others remain;
            FER+'s own reading code (Barsoum et al., ICMI 2016) drops single votes.
        sizes: Side of the training crops by equal parts of the run, px.
        settle: Share of the run, at its end, with half the disturbance and, unless there are teachers, without mixing.
        validation: Share of twin clusters held out of the training.
        faults: Share of crops that something is put in front of, or whose light or lens is bad.
        acted: Share of calm crops that are made to frown, and of all that are warped at random.
    """

    rare: float = 0.5
    original: float = 0.3
    slips: int = 0
    sizes: tuple[int, ...] = (40, 48, 48, 56)
    settle: float = 0.15
    validation: float = 0.05
    faults: float = 0.0
    acted: float = 0.0

    def __post_init__(self) -> None:
        for name in ("rare", "original", "settle", "faults"):
            in_range(name, getattr(self, name), 0, 1)
        in_range("validation", self.validation, 0, 0.9)
        in_range("acted", self.acted, 0, 0.5)
        for size in self.sizes or (0,):
            in_range("sizes", size, 16, 512)


@dataclass(frozen=True)
class DistilSettings:
    """What the targets are made of.

    Attributes:
        teacher: Share of trained models' answers in the targets, where there are any; the rest are votes.
        replay: How often a crop is used once teachers have answered it, on average; 1 asks anew at every step. More
            needs crops of one size. What is remembered is not part of a checkpoint: a resumed run gathers it anew.
        swap_share: Share of batches whose crops take their lower part from another crop; only asked of teachers.
        mixup: Parameter of the Beta distribution that mixes two crops; 0: off.
        mixup_share: Share of batches that are mixed.
        features: Weight of the distance to the first teacher's features; it must be of the same shape.
    """

    teacher: float = 0.7
    replay: int = 1
    swap_share: float = 0.0
    mixup: float = 0.2
    mixup_share: float = 0.3
    features: float = 0.0

    def __post_init__(self) -> None:
        for name in ("teacher", "swap_share", "mixup_share"):
            in_range(name, getattr(self, name), 0, 1)
        for name in ("mixup", "features"):
            in_range(name, getattr(self, name), 0, 100)
        in_range("replay", self.replay, 1, 10**6)
