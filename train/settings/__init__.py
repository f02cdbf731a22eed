"""The settings of a run: frozen dataclasses, checked on construction, each documented there and nowhere else."""

from train.settings.checks import in_range
from train.settings.data import AugmentSettings, DataSettings, MixSettings
from train.settings.run import LoopSettings, ModelSettings, ObjectiveSettings, OptimSettings, RunConfig
from train.settings.stills import DistilSettings, StillSettings

__all__ = [
    "AugmentSettings",
    "DataSettings",
    "DistilSettings",
    "LoopSettings",
    "MixSettings",
    "ModelSettings",
    "ObjectiveSettings",
    "OptimSettings",
    "RunConfig",
    "StillSettings",
    "in_range",
]
