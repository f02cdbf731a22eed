"""The default model's recipe: ``recipe.toml`` says which runs, from where, taught by whom; ``recipes/`` how they go."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal

from engine.settings import SettingsError, load
from train.models.compact.shape import EncoderConfig, SeparableConfig
from train.settings import DistilSettings, LoopSettings, OptimSettings, StillSettings

_HERE = Path(__file__).parent
FILES = {file.stem: file for file in sorted((_HERE / "recipes").glob("*.toml"))}
"""Settings of each run, by name."""
BASE = "base"
"""What they inherit from; no run itself."""
AFTER = ("head", "bundle", "calibrate", "card")
"""Stages that follow the encoder's."""
_OF_CLIPS = ("accumulate", "balance", "save_steps", "cache_features", "feature_views")


@dataclass(frozen=True)
class Recipe:
    """Which runs the encoder goes through.

    Attributes:
        stages: Names, in order; ``blend`` and ``average`` are means of others' weights, the rest are runs.
        pretrained: Runs that start from a network that knows faces.
        start: Whose weights a run goes on from, by run.
        teachers: Lists of those who are asked about every crop, by run.
        blend: Shares of a run and of the deeper one that went on from it.
        average: Shares of runs that went on from one another.
    """

    stages: tuple[str, ...] = ()
    pretrained: tuple[str, ...] = ()
    start: Mapping[str, str] = field(default_factory=dict)
    teachers: Mapping[str, Any] = field(default_factory=dict)
    blend: Mapping[str, float] = field(default_factory=dict)
    average: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class StageConfig:
    """How one run of the encoder, or of the other one that teaches it, learns.

    Attributes:
        encoder: ``residual`` (what is shipped) or ``separable`` (the teacher).
        residual: Shape of the residual encoder.
        separable: Shape of the separable encoder.
        stills: Which stills are shown.
        distil: What the targets are made of.
        optim: Optimizer and schedule.
        loop: How training runs.
        keep_statistics: Normalise by the statistics that the run starts with: what it knew of clean crops stays nearer.
    """

    encoder: Literal["residual", "separable"] = "residual"
    residual: EncoderConfig = field(default_factory=EncoderConfig)
    separable: SeparableConfig = field(default_factory=SeparableConfig)
    stills: StillSettings = field(default_factory=StillSettings)
    distil: DistilSettings = field(default_factory=DistilSettings)
    optim: OptimSettings = field(default_factory=OptimSettings)
    loop: LoopSettings = field(default_factory=LoopSettings)
    keep_statistics: bool = False

    def __post_init__(self) -> None:
        size = self.shape.size_px
        if self.distil.replay > 1 and set(self.stills.sizes) != {size}:
            raise SettingsError("distil.replay keeps crops of one size", f"it needs stills.sizes = [{size}]")
        for name in _OF_CLIPS:
            if getattr(self.loop, name) != getattr(LoopSettings(), name):
                raise SettingsError(f"loop.{name} is for clips", "leave it out of a run on stills")

    @property
    def shape(self) -> EncoderConfig | SeparableConfig:
        """The shape of the encoder that is trained."""
        return self.residual if self.encoder == "residual" else self.separable


@dataclass(frozen=True)
class MakeSettings:
    """From where, to where and how long.

    Attributes:
        data: Folder with FER+'s train.zip, dev.zip and tables.
        cache: Folder of cached stills.
        run: Folder of the runs; one that was begun is taken up.
        out: The bundle.
        pretrained: Folder with a network that knows faces, for the teacher; train/models/compact/pretrained.py says
            which and how to get it.
        minutes: Time for each run of the encoder; 0: by passes.
        length: Factor on each run's passes; 0.05 for a try.
        blend: Share of the deepened run in the blend, in place of the recipe's.
        compiled: Compile each run's step: takes a C++ compiler and a minute.
        seed: Of the encoder's runs, in place of the recipe's.
        device: ``auto``, ``cpu`` or ``cuda``.
        procs: Processes; 0: one per core of a CPU, at most 4, and one on a GPU.
        faces: Stills in the head's feature bank.
        views: Augmentations of each.
        steps: Optimizer steps of the head.
        raise_rare: How far the rare classes are raised, 0 to 1.
        even_out: How far the common classes are evened out, 0 to 1.
        head_seed: Of the head's training.
        clip_seeds: Composed clips per dev face when measuring.
        probed: Faces under each probe, in the card.
        unpack: A bundle whose weights stand for the runs up to `average` and for the head, where those are gone.
        candidates: How many candidates were compared on dev.
    """

    HIDDEN: ClassVar[frozenset[str]] = frozenset({"data"})
    """Has a flag that must be given."""

    data: Path = Path()
    cache: Path = Path(".cache/compact")
    run: Path = Path("runs/compact")
    out: Path = Path("stream/default_model")
    pretrained: Path | None = None
    unpack: Path | None = None
    minutes: float = 0.0
    length: float = 1.0
    blend: float | None = None
    compiled: bool = False
    seed: int | None = None
    device: str = "auto"
    procs: int = 0
    faces: int = 9000
    views: int = 6
    steps: int = 3000
    raise_rare: float = 0.25
    even_out: float = 0.085
    head_seed: int = 1
    clip_seeds: int = 5
    probed: int = 900
    candidates: int = 1


def read_recipe(file: Path = _HERE / "recipe.toml") -> Recipe:
    """Which runs there are.

    Raises:
        SettingsError: If the file is none of this kind.
    """
    return load(Recipe, file).settings


def read_stage(name: str, assignments: Sequence[str] = ()) -> StageConfig:
    """How a run learns.

    Args:
        name: Its name in the recipe.
        assignments: ``key=value`` over its file.

    Raises:
        SettingsError: On an unknown key, or a value of the wrong type or out of range.
    """
    return load(StageConfig, FILES[name], parents=FILES, assignments=assignments).settings
