"""The default model's stages, as its command runs them: which, in which order, and what ends them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from train.cli import main
from train.default_model import make as make_module
from train.default_model.recipe import FILES, read_recipe, read_stage
from train.default_model.stage import Stage


@pytest.fixture
def done(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What the command ran, a :class:`Stage` for every run and a folder for every mean."""
    ran: list[Any] = []

    def launch(_work: Any, stage: Stage, _world: int, _device: Any) -> bool:
        ran.append(stage)
        return True

    monkeypatch.setattr(make_module, "launch", launch)
    monkeypatch.setattr(make_module, "load_split", lambda *_: None)
    monkeypatch.setattr(make_module, "read_graph", lambda _: {})
    monkeypatch.setattr(make_module, "read_run", lambda folder: folder)
    monkeypatch.setattr(make_module, "write_blend", lambda *given: ran.append(given[-1]))
    monkeypatch.setattr(make_module, "write_average", lambda *given: ran.append(given[-1]))
    return ran


def _call(folder: Path, *more: str) -> list[str]:
    return ["default-model", "--data", str(folder), "--run", str(folder / "run"), *more]


def test_one_command_makes_every_stage_in_its_order(tmp_path: Path, done: list[Any]) -> None:
    recipe = read_recipe()
    known = ["--pretrained", str(tmp_path / "known")]
    assert main(_call(tmp_path, *known, "--stages", *reversed(recipe.stages))) == 0
    assert [one.out if isinstance(one, Stage) else one for one in done] == [
        tmp_path / "run" / name for name in recipe.stages
    ]
    runs = {one.out.name: one for one in done if isinstance(one, Stage)}
    for name, stage in runs.items():
        assert stage.config == read_stage(name)
        assert stage.start == (tmp_path / "run" / recipe.start[name] if name in recipe.start else None)
        assert [teacher.name for teacher in stage.teachers] == list(recipe.teachers.get(name, ()))
        assert (stage.pretrained is not None) is (name in recipe.pretrained)


def test_a_bundle_is_of_the_further_run_that_is_named_and_of_none_unasked(
    tmp_path: Path, done: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(make_module, "unpack", lambda _given, _stills, run: done.append(run))
    monkeypatch.setattr(make_module, "make_bundle", lambda _given, encoder: done.append(encoder.name))
    assert main(_call(tmp_path, "--unpack", str(tmp_path), "--stages", "robust", "bundle")) == 0
    assert [one.out.name if isinstance(one, Stage) else one for one in done] == ["average", "robust", "robust"]
    done.clear()
    assert main(_call(tmp_path, "--stages", "bundle")) == 0
    assert done == ["average"]


def test_a_try_shortens_every_run(tmp_path: Path, done: list[Any]) -> None:
    runs = [name for name in read_recipe().stages if name in FILES]
    call = _call(tmp_path, "--length", "0.05", "--seed", "7", "--minutes", "2", "--pretrained", str(tmp_path))
    assert main([*call, "--set", "loop.batch=64", "--stages", *runs]) == 0
    assert [one.config.loop.epochs for one in done] == [
        max(round(read_stage(name).loop.epochs * 0.05), 1) for name in runs
    ]
    assert {(one.config.loop.seed, one.config.loop.minutes, one.config.loop.batch) for one in done} == {(7, 2.0, 64)}


def test_a_stopped_run_is_the_last_and_says_how_to_go_on(
    tmp_path: Path, done: list[Any], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(make_module, "launch", lambda _work, stage, *_: done.append(stage))
    assert main(_call(tmp_path, "--stages", "patience", "finish")) == 130
    assert [stage.out.name for stage in done] == ["patience"]
    assert "the same command goes on from the last whole epoch" in capsys.readouterr().err


def test_missing_data_is_one_clear_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(_call(tmp_path, "--stages", "encoder")) == 2
    error = capsys.readouterr().err.strip()
    assert error.startswith("dfer-train default-model: ")
    assert "train.zip is missing" in error
    assert "\n" not in error


@pytest.mark.parametrize("more", [[], ["--pretrained", "nowhere"]], ids=["not named", "missing"])
def test_without_the_teachers_start_nothing_is_begun(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], more: list[str]
) -> None:
    monkeypatch.setattr(make_module, "launch", lambda *_: pytest.fail("a run of hours was begun"))
    assert main(_call(tmp_path, *more)) == 2
    error = capsys.readouterr().err.strip()
    assert "npm pack" in error
    assert "\n" not in error


def test_a_mean_of_runs_that_are_not_there_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(_call(tmp_path, "--stages", "average")) == 2
    assert "patience/last.safetensors" in capsys.readouterr().err
