"""The first steps of every run of the recipe have the losses that the default model's own trainer had.

``losses.json`` was written by that trainer before the training loop took its place: tiny encoders on the same drawn
stills, 3 epochs of 16 steps, seed 1. It holds the first 20 steps of each run; of those that replay answers also steps
33 to 48, for before there is too little to replay. On the machine that wrote it, the losses are equal to the last bit.
The run ``robust`` is younger than that trainer: its losses are those of the loop that is here.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.train.drawn_stills import SHORT, drawn_stills, losses_of, trainer
from train.default_model.recipe import FILES, read_recipe, read_stage
from train.default_model.weights import read_run, write_average, write_blend

RECORDED = json.loads((Path(__file__).parent / "losses.json").read_text("utf-8"))
SIZES = {"encoder": "[40, 48, 48, 56]", "deepen": "[40, 48, 48, 48]", "teacher": "[40, 40, 48, 48]"}
"""The recipe's courses of sizes, as far as a tiny encoder of 40 px has them; the others learn from one size."""


def test_every_run_of_the_recipe_takes_the_steps_it_always_took(tmp_path: Path) -> None:
    recipe = read_recipe()
    for name in recipe.stages:
        if name == "blend":
            shallow, deep = (read_run(tmp_path / end) for end in recipe.blend)
            write_blend(shallow, deep, recipe.blend["deepen"], tmp_path / name)
        if name == "average":
            write_average([read_run(tmp_path / end) for end in recipe.average], [0.2, 0.4, 0.4], tmp_path / name)
        if name not in FILES:
            continue
        more = [f"stills.sizes={SIZES.get(name, '[40]')}", "loop.epochs=3"]
        more += [] if name == "encoder" else ["residual.depths=2,3"]
        start = tmp_path / recipe.start[name] if name in recipe.start else None
        teachers = tuple(tmp_path / teacher for teacher in recipe.teachers.get(name, ()))
        config = read_stage(name, [*SHORT, *more])
        losses = losses_of(trainer(tmp_path / name, config, drawn_stills(128), start=start, teachers=teachers))
        assert len(losses) == 48
        compared = losses[:20] + (losses[32:] if config.distil.replay > 1 else [])
        assert compared == pytest.approx(RECORDED[name], rel=1e-6), name
