"""The recipe of the default model: every run goes on from one that was made before it."""

from __future__ import annotations

from pathlib import Path

import pytest

from train.data.layouts.ferplus import FacesError
from train.default_model import __main__ as pipeline
from train.default_model import fit as fit_module
from train.default_model.recipe import BLEND, LESSONS, STAGES, Lesson


@pytest.mark.parametrize("lesson", LESSONS, ids=lambda lesson: lesson.folder)
def test_every_lessons_settings_are_options_of_a_run(
    lesson: Lesson, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def no_data(*_: object) -> None:
        raise FacesError("no stills here")

    monkeypatch.setattr(fit_module, "load_split", no_data)
    # The settings were read where the run gets as far as asking for its data.
    assert fit_module.main(["--data", str(tmp_path), "--out", str(tmp_path), *lesson.settings]) == 1
    assert "no stills here" in capsys.readouterr().err


def _recorded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *more: str) -> list[list[str]]:
    """Commands of the runs that the encoder's stages would start, with ``blend`` and ``average`` where they come."""
    commands: list[list[str]] = []

    def run(*command: str | Path) -> int:
        commands.append([str(part) for part in command])
        return 0

    monkeypatch.setattr(pipeline, "run_module", run)
    monkeypatch.setattr(pipeline, "read_graph", lambda _: {})
    monkeypatch.setattr(pipeline, "blend_runs", lambda *folders: commands.append(["--out", str(folders[-1])]))

    def average(runs: list[Path], shares: list[float], out: Path) -> None:
        assert sum(shares) == pytest.approx(1)
        commands.append(["--teachers", *(str(run / "last.safetensors") for run in runs), "--out", str(out)])

    monkeypatch.setattr(pipeline, "average_ends", average)
    stages = STAGES[: STAGES.index("head")]
    call = ["--data", str(tmp_path), "--run", str(tmp_path / "run"), "--pretrained", str(tmp_path / "known")]
    assert pipeline.main([*call, "--stages", *reversed(stages), *more]) == 0
    return commands


def _named(command: list[str], option: str) -> list[Path]:
    if option not in command:
        return []
    rest = command[command.index(option) + 1 :]
    ends = [i for i, part in enumerate(rest) if part.startswith("--")]
    return [Path(part) for part in rest[: ends[0] if ends else None]]


def test_runs_go_on_from_and_listen_to_earlier_ones(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[Path] = []
    for command in _recorded(tmp_path, monkeypatch):
        needed = _named(command, "--start") + _named(command, "--teachers")
        assert [path for path in needed if path.parent not in made] == []
        made += _named(command, "--out")
    assert made[-1] == tmp_path / "run"
    assert len(made) == len(set(made)) == len(LESSONS) + 2  # what is blended, and what is averaged
    assert tmp_path / "run" / BLEND in made


def test_a_try_shortens_every_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    runs = [command for command in _recorded(tmp_path, monkeypatch, "--length", "0.05") if "--epochs" in command]
    passes = [int(command[command.index("--epochs") + 1]) for command in runs]
    assert passes == [max(round(lesson.epochs * 0.05), 1) for lesson in LESSONS]
    assert max(passes) == 4


def test_the_first_run_that_fails_is_the_last(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    commands: list[tuple[str | Path, ...]] = []

    def fail(*command: str | Path) -> int:
        commands.append(command)
        return 1

    monkeypatch.setattr(pipeline, "run_module", fail)
    assert pipeline.main(["--data", str(tmp_path), "--run", str(tmp_path), "--stages", "patience", "finish"]) == 1
    assert len(commands) == 1
