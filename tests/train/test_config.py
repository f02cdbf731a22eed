"""Configurations round-trip; what is unknown or out of range is refused by name."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from train.config import from_mapping, load_config, parse_assignment
from train.recipes import RECIPES, recipe
from train.settings import ConfigError, RunConfig
from train.settings_help import settings_text


@pytest.mark.parametrize("name", sorted(RECIPES))
@pytest.mark.parametrize("pretrained", [True, False])
def test_recipes_are_configurations_that_round_trip_through_json(name: str, pretrained: bool) -> None:
    config = load_config(None, [], recipe(name, pretrained))
    assert config.model.name == name
    assert from_mapping(RunConfig, json.loads(json.dumps(config.to_dict()))) == config


def test_flags_win_over_the_file_and_the_file_over_the_recipe(tmp_path: Path) -> None:
    file = tmp_path / "run.toml"
    file.write_text(
        '[optim]\nlr = 0.5\nmilestones = [1, 2]\n[optim.groups]\n"encoder.layers" = 0.1\n[loop]\nbatch = 6\n'
    )
    config = load_config(
        file, ["loop.batch=9", "optim.groups.text=0.2", "model.options.fine_depth=2"], recipe("tg-dfer")
    )
    assert (config.optim.lr, config.loop.batch, config.optim.milestones) == (0.5, 9, (1, 2))
    assert config.optim.groups == {"encoder.layers": 0.1, "text": 0.2}
    assert config.model.options == {"fine_depth": 2}
    assert config.optim.name == "sgd"


@pytest.mark.parametrize(
    ("flag", "message"),
    [
        ("loop.epoch=3", "did you mean 'epochs'"),
        ("lop.epochs=3", "did you mean 'loop'"),
        ("loop.epochs=many", "loop.epochs must be of type int"),
        ("loop.epochs=true", "loop.epochs must be of type int"),
        ("loop.epochs=0", "loop.epochs must be 1"),
        ("loop.select=test", "only under the name paper-protocol"),
        ("loop.select=best", "must be one of best-on-validation"),
        ("data.validation=0.0", "needs data.validation above 0"),
        ("optim.betas=[0.9]", "must have 2 values"),
        ("augment.flip=2.0", "augment.flip must be 0..1"),
        ("loop.batch", "needs section.key=value"),
        ("loop.batch.x=1", "must be of type int|is no table"),
    ],
)
def test_mistakes_are_named_with_a_remedy(flag: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load_config(None, [flag], {})


def test_a_file_that_is_missing_or_no_toml_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot read"):
        load_config(tmp_path / "none.toml")
    (tmp_path / "bad.toml").write_text("a = = 1")
    with pytest.raises(ConfigError, match="is not TOML"):
        load_config(tmp_path / "bad.toml")


@given(st.one_of(st.integers(-99, 99), st.booleans(), st.floats(-9, 9), st.text("abc-", min_size=1, max_size=5)))
def test_flag_values_are_read_as_toml_writes_them(value: int | bool | float | str) -> None:
    text = str(value).lower() if isinstance(value, bool) else str(value)
    assert parse_assignment(f"a.b={text}") == ("a.b", value)


def test_help_has_every_setting_with_its_text() -> None:
    text = settings_text()
    assert "  patience = 0\n      Epochs without a better validation" in text
    assert 'select = "best-on-validation"' in text
