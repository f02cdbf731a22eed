"""Configurations round-trip; what is unknown or out of range is refused by name."""

import json
from pathlib import Path

import pytest

from engine.settings import Layer, SettingsError, load
from train.cli import main
from train.recipes import PAPERS, RECIPES, read_config
from train.settings import RunConfig


@pytest.mark.parametrize("model", PAPERS)
@pytest.mark.parametrize("weights", ["", "openai/clip-vit-base-patch32"])
def test_recipes_are_configurations_that_round_trip_through_json(model: str, weights: str) -> None:
    config = read_config(flags={"model.name": model, "model.weights": weights}, environ={})
    assert config.model.name == model
    assert config.optim.groups == ({"encoder": 1e-5, "text": 1e-3} if weights and model == "tg-dfer" else {})
    stored = json.loads(json.dumps(config.to_dict()))
    assert load(RunConfig, below=[Layer(stored, "config.json")]).settings == config


def test_flags_win_over_the_file_and_the_file_over_the_recipe(tmp_path: Path) -> None:
    file = tmp_path / "run.toml"
    file.write_text(
        '[optim]\nlr = 0.5\nmilestones = [1, 2]\n[optim.groups]\n"encoder.layers" = 0.1\n[loop]\nbatch = 6\n'
    )
    config = read_config(
        file,
        assignments=["loop.batch=9", "optim.groups.text=0.2", "model.options.fine_depth=2"],
        environ={"DFER_TRAIN_LOOP_BATCH": "7", "DFER_TRAIN_LOOP_EPOCHS": "3", "DFER_SOURCE_URI": "of another program"},
    )
    assert (config.optim.lr, config.loop.batch, config.optim.milestones) == (0.5, 9, (1, 2))
    assert config.optim.groups == {"encoder.layers": 0.1, "text": 0.2}
    assert config.model.options == {"fine_depth": 2}
    assert (config.optim.name, config.loop.epochs) == ("sgd", 3)


def test_a_file_inherits_a_recipe_by_name_and_with_it_the_model(tmp_path: Path) -> None:
    file = tmp_path / "run.toml"
    file.write_text('inherits = "dk-clip"\n[loop]\nbatch = 4\n')
    config = read_config(environ={"DFER_TRAIN_CONFIG": str(file)})
    assert (config.model.name, config.mix.fmix, config.loop.batch, config.loop.accumulate) == ("dk-clip", 1.0, 4, 2)
    assert set(RECIPES) == {*PAPERS, "tg-dfer-pretrained"}


def test_what_a_bundle_says_of_its_model_counts_for_that_model_alone() -> None:
    bundle = Layer({"model": {"name": "dk-clip", "encoder": "tiny", "options": {"snippets": 2}}}, "bundle")
    own = read_config(below=[bundle], assignments=["model.options.heads=2"], environ={})
    assert (own.model.name, own.model.encoder, own.optim.lr) == ("dk-clip", "tiny", 2e-6)
    assert own.model.options == {"snippets": 2, "heads": 2}
    other = read_config(flags={"model.name": "tg-dfer"}, below=[bundle], environ={})
    assert (other.model.name, other.model.encoder, other.model.options) == ("tg-dfer", "vit-b-32", {})


@pytest.mark.parametrize(
    ("assignment", "message"),
    [
        ("loop.epoch=3", r"did you mean loop\.epochs\?"),
        ("lop.epochs=3", r"did you mean loop\.epochs\?"),
        ("loop.epochs=many", "loop.epochs must be whole number"),
        ("loop.epochs=true", "loop.epochs must be whole number"),
        ("loop.epochs=0", r"\[loop\] epochs must be 1\.\."),
        ("loop.select=test", "only under the name paper-protocol"),
        ("loop.select=best", "must be best-on-validation"),
        ("model.name=tgdfer", "model.name must be one of tg-dfer, dk-clip, clip-guided, not 'tgdfer'"),
        ("data.validation=0.0", "needs data.validation above 0"),
        ("data.source=dfw", "data.source must be 'dfew'"),
        ("optim.betas=[0.9]", "must be 2 × number"),
        ("augment.flip=2.0", r"\[augment\] flip must be 0\.\.1"),
        ("augment.crop_scale=[0.9, 0.8]", "0 < low <= high <= 1"),
        ("loop.batch", "needs section.key=value"),
        ("loop.batch.x=1", "unknown setting loop.batch.x"),
    ],
)
def test_mistakes_are_named_with_a_remedy(assignment: str, message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        read_config(assignments=[assignment], environ={})


def test_help_has_every_setting_with_its_text(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["fit", "--help"])
    text = " ".join(capsys.readouterr().out.split())
    assert "--loop.patience PATIENCE Epochs without a better validation" in text
    assert 'default "best-on-validation"' in text
    assert "--source SOURCE, --data.source SOURCE" in text
