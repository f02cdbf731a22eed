"""The papers' training recipes: TOML files of settings, by name, each below any file or flag of one's own."""

from __future__ import annotations

import functools
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from engine.settings import Layer, SettingsError, load, read_layers
from train.settings import RunConfig

ENV_PREFIX = "DFER_TRAIN_"

RECIPES: dict[str, Path] = {path.stem: path for path in sorted(Path(__file__).parent.glob("*.toml"))}
"""Every recipe by its name, which a settings file may inherit: ``inherits = "tg-dfer"``."""

PAPERS = ("tg-dfer", "dk-clip", "clip-guided")
"""Models that have a paper's recipe."""


def recipe(model: str, pretrained: bool = False) -> list[Layer]:
    """The recipe of a model.

    Args:
        model: The model's name.
        pretrained: Whether its encoder starts from published weights, for which some recipes have rates of their own.

    Raises:
        SettingsError: If the model is unknown.
    """
    if model not in PAPERS:
        raise SettingsError(f"model.name must be one of {', '.join(PAPERS)}, not {model!r}")
    name = f"{model}-pretrained"
    return read_layers(RECIPES[name if pretrained and name in RECIPES else model], RECIPES)


def read_config(
    file: Path | None = None,
    flags: Mapping[str, str] | None = None,
    assignments: Sequence[str] = (),
    below: Sequence[Layer] = (),
    environ: Mapping[str, str] | None = None,
) -> RunConfig:
    """A run's configuration over its model's recipe.

    Which recipe follows from what the rest states of the model: its name, and whether there are weights to start from.

    Args:
        file: A TOML file; the one that ``DFER_TRAIN_CONFIG`` names where None.
        flags: Text by key.
        assignments: Of ``--set``.
        below: Layers between the recipe and the file; one of another model than the rest names is left out.
        environ: Environment variables; the process's where None.

    Raises:
        SettingsError: On anything unknown, of the wrong type or out of range.
    """
    variables = os.environ if environ is None else environ
    named = variables.get(f"{ENV_PREFIX}CONFIG")
    file = file or (Path(named) if named else None)
    read = functools.partial(
        load, RunConfig, file, variables, flags, prefix=ENV_PREFIX, parents=RECIPES, assignments=assignments
    )
    model = read(below=below).settings.model
    own = [layer for layer in below if layer.values.get("model", {}).get("name", model.name) == model.name]
    return read(below=[*recipe(model.name, bool(model.weights)), *own]).settings
