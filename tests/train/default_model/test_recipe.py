"""The recipe of the default model: every run goes on from one that was made before it."""

from __future__ import annotations

import pytest

from engine.settings import SettingsError
from train.default_model.recipe import BASE, FILES, read_recipe, read_stage


def test_runs_go_on_from_and_listen_to_earlier_ones() -> None:
    recipe = read_recipe()
    made: list[str] = []
    for name in (*recipe.stages, *recipe.further):
        means = {"blend": recipe.blend, "average": recipe.average}
        needed = [*recipe.teachers.get(name, ()), *means.get(name, ())]
        needed += [recipe.start[name]] if name in recipe.start else []
        assert [other for other in needed if other not in made] == []
        assert (name in FILES) is (name not in means)
        made.append(name)
    assert set(FILES) - {BASE} <= set(made)
    assert len(made) == len(set(made))
    assert {*recipe.start, *recipe.teachers, *recipe.pretrained} <= set(made)
    for shares in (recipe.blend, recipe.average):
        assert sum(shares.values()) == pytest.approx(1)
    # What is averaged must be one way: each end is where the next run started.
    ends = list(recipe.average)
    assert [recipe.start[later] for later in ends[1:]] == ends[:-1]
    shallow, deep = recipe.blend
    assert recipe.start[deep] == shallow


@pytest.mark.parametrize("name", sorted(set(FILES) - {BASE}))
def test_a_runs_settings_are_read_and_inherited(name: str) -> None:
    config = read_stage(name)
    assert config.optim.schedule == "one-cycle"
    assert config.loop.ema_buffers
    assert config.loop.epochs < 100
    assert config.encoder == ("separable" if name.startswith("teacher") else "residual")


def test_what_a_run_does_not_know_is_refused_with_what_was_meant() -> None:
    with pytest.raises(SettingsError, match="did you mean distil.replay"):
        read_stage("distil", ["distil.repaly=4"])
    with pytest.raises(SettingsError, match="rare must be 0..1"):
        read_stage("distil", ["stills.rare=4"])
