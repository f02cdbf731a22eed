"""What runs leave: means of runs that went on from one another, and whom a run descends from."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from tests.train.drawn_stills import short, trainer
from train.default_model.card import write_card
from train.default_model.recipe import StageConfig
from train.default_model.weights import Trained, lineage, read_run, write_average, write_blend
from train.training.checkpoint import CheckpointError, save_tensors


def _run(folder: Path, config: StageConfig | None = None, start: Path | None = None, *teachers: Path) -> Trained:
    trainer(folder, config or short(), start=start, teachers=teachers).fit()
    return read_run(folder)


def test_no_run_is_named(tmp_path: Path) -> None:
    (tmp_path / "text").mkdir()
    (tmp_path / "text" / "last.safetensors").write_text("no weights")
    save_tensors(tmp_path / "clips" / "last.safetensors", {"x": torch.zeros(1)}, {"epoch": {}})
    for name in ("text", "missing", "clips"):
        with pytest.raises(CheckpointError, match=f"{name}/last.safetensors"):
            read_run(tmp_path / name)


def test_a_blend_says_what_it_is_made_of(tmp_path: Path) -> None:
    shallow = _run(tmp_path / "shallow")
    deep = _run(tmp_path / "deep", short("residual.depths=2,3"), tmp_path / "shallow")
    write_blend(shallow, deep, 0.25, tmp_path / "blend")
    made = read_run(tmp_path / "blend")
    assert made.record["mean"] == {"shallow": 0.75, "deep": 0.25}
    assert made.record["shape"]["depths"] == [2, 3]
    assert made.record["start"] == deep.identity
    assert made.weights.keys() == deep.weights.keys()
    assert [row["name"] for row in lineage(made, tmp_path)] == ["shallow", "deep", "blend"]


def test_the_mean_of_ends_is_of_one_way_and_says_so(tmp_path: Path) -> None:
    one = _run(tmp_path / "one")
    two = _run(tmp_path / "two", start=tmp_path / "one")
    three = _run(tmp_path / "three", short("loop.seed=2"), tmp_path / "two")
    write_average([one, two, three], [0.25, 0.25, 0.5], tmp_path / "mean")
    mean, name = read_run(tmp_path / "mean"), "encoder.project.weight"
    torch.testing.assert_close(
        mean.weights[name], 0.25 * one.weights[name] + 0.25 * two.weights[name] + 0.5 * three.weights[name]
    )
    assert mean.record["mean"] == {"one": 0.25, "two": 0.25, "three": 0.5}
    assert torch.isfinite(mean.classifier()(torch.rand(2, 1, 40, 40) * 255)).all()
    with pytest.raises(CheckpointError, match="one did not go on from three"):
        write_average([three, one], [0.5, 0.5], tmp_path / "wrong")
    # A run that was made again is another one, whatever its name.
    with pytest.raises(CheckpointError, match="two did not go on from one"):
        write_average([Trained("one", three.weights, one.record), two], [0.5, 0.5], tmp_path / "wrong")
    assert not (tmp_path / "wrong").exists()


def test_a_lineage_is_rows_each_after_those_it_was_made_from(tmp_path: Path) -> None:
    _run(tmp_path / "first")
    _run(tmp_path / "wide", short("encoder=separable"))
    taught = _run(
        tmp_path / "taught", short("distil.teacher=0.75"), tmp_path / "first", tmp_path / "first", tmp_path / "wide"
    )
    rows = lineage(taught, tmp_path)
    assert [row["name"] for row in rows] == ["first", "wide", "taught"]
    assert rows[-1]["sha256"] == taught.identity["sha256"]
    assert (rows[-1]["start"], rows[-1]["teachers"], rows[-1]["taught"]) == ("first", ["first", "wide"], 0.75)
    assert rows[1]["kind"] == "separable"
    assert "distil.teacher 0.75" in rows[-1]["settings"]
    assert all(not isinstance(value, dict) for row in rows for value in row.values())
    save_tensors(tmp_path / "wide" / "last.safetensors", {"x": torch.zeros(1)}, dict(taught.record))
    with pytest.raises(CheckpointError, match="wide is not the run that taught was made from"):
        lineage(taught, tmp_path)


def test_the_card_names_every_run_and_what_a_teacher_started_from() -> None:
    plain = {"epochs": 2, "minutes": 1.0, "processes": 2, "blocks": [1, 2], "dropout": 0.1, "settings": "loop.epochs 2"}
    first = {"name": "encoder", "sha256": "1", "kind": "residual", "start": "", "teachers": [], "taught": 0.0, **plain}
    known = {**first, "name": "teacher", "kind": "pre-trained separable", "blocks": 12}
    taught = {**first, "name": "distil", "start": "encoder", "teachers": ["encoder", "teacher"], "taught": 0.7}
    mean = {
        "name": "average",
        "sha256": "2",
        "kind": "residual",
        "start": "distil",
        "mean": {"encoder": 0.25, "distil": 0.75},
    }
    provenance = {
        "encoder": {"config": {"loop.seed": 1, "stills.rare": 0.5, "stills.original": 0.3}},
        "lineage": [first, known, taught, mean], "head": {"seed": 1, "steps": 10}, "encoder_parameters": 1_000_000,
        "head_parameters": 100_000, "data_sha256": "0", "candidates": 1,
    }  # fmt: skip
    dev = {"war": (1.0, 0.0, 2.0), "uar": (1.0, 0.0, 2.0), "n": 2, "confusion": [[1, 0], [1, 0]]}
    figures = {"dev": dev, "crop_ms": 1.0, "crop_ms_where": "here", "composed": {}}
    card = write_card(("neutral", "happiness"), provenance, figures)
    assert "30% votes, 70% the mean answer of encoder, teacher to the very crop" in card
    assert (
        "- encoder (residual): 2 epochs (1 minutes on 2 processes), [1, 2] blocks, dropout 0.1, targets: votes" in card
    )
    assert "- average (residual, from distil): 0.25 encoder + 0.75 distil" in card
    assert "VGGFace2" in card
    assert "--pretrained" in card
    alone = {**provenance, "lineage": [first]}
    assert "VGGFace2" not in write_card(("neutral", "happiness"), alone, figures)
