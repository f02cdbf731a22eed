"""A deeper encoder that starts from a trained one computes what that one does, and says so where it cannot."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path

import pytest
import torch

from tests.train.default_model.test_fit import TINY, drawn_stills
from train.default_model import fit
from train.default_model.checkpoint import (
    CheckpointError,
    average_ends,
    blend_runs,
    read_average,
    read_classifier,
    read_record,
    without_history,
)
from train.default_model.run import FitConfig, Run
from train.models.compact.encoder import CompactEncoder, EncoderConfig, FrameClassifier
from train.models.compact.grow import GrowError, blended, grown

DEEP = replace(TINY, depths=(2, 3))


def _classifier(shape: EncoderConfig, seed: int) -> FrameClassifier:
    torch.manual_seed(seed)
    model = FrameClassifier(CompactEncoder(shape), 7).eval()
    with torch.no_grad():
        for name, value in model.named_parameters():
            if name.endswith("norm2.weight"):
                value.uniform_(0.5, 1.5)  # trained blocks do something
    return model


def test_a_deeper_encoder_starts_as_the_same_function() -> None:
    trained, deep = _classifier(TINY, 0), FrameClassifier(CompactEncoder(DEEP), 7).eval()
    crops = torch.rand(4, 1, 40, 40) * 255
    assert not torch.allclose(deep(crops), trained(crops), atol=1e-3)
    deep.load_state_dict(grown(trained.state_dict(), deep.state_dict()))
    torch.testing.assert_close(deep(crops), trained(crops))
    assert sum(p.numel() for p in deep.parameters()) > sum(p.numel() for p in trained.parameters())


@pytest.mark.parametrize(
    "shape", [replace(TINY, widths=(8, 24)), replace(TINY, depths=(2, 1)), replace(TINY, feature=8)], ids=repr
)
def test_what_does_not_fit_is_named(shape: EncoderConfig) -> None:
    trained = _classifier(shape, 0)
    with pytest.raises(GrowError, match="no counterpart"):
        grown(trained.state_dict(), FrameClassifier(CompactEncoder(TINY), 7).state_dict())


def test_a_run_goes_on_from_another_and_its_checkpoint_is_named_where_it_is_broken(tmp_path: Path) -> None:
    torch.set_num_threads(1)
    first = Run(FitConfig(epochs=1, batch=8, sizes=(40,)), TINY, drawn_stills(), "cpu")
    first.train_epoch()
    first.save(tmp_path, {"note": 1})
    second = Run(FitConfig(epochs=1, batch=8, sizes=(40,)), DEEP, drawn_stills(), "cpu")
    second.start_from(tmp_path / "last.safetensors")
    crops = torch.rand(2, 1, 40, 40) * 255
    torch.testing.assert_close(second.averaged().eval()(crops), first.averaged().eval()(crops))
    assert second.epoch == 0
    assert read_record(tmp_path / "last.safetensors")["epoch"] == 1
    (tmp_path / "text.safetensors").write_text("no weights")
    for name in ("text.safetensors", "missing.safetensors"):
        with pytest.raises(CheckpointError, match=name):
            read_record(tmp_path / name)


def test_a_blend_goes_from_one_function_to_the_other() -> None:
    shallow, deep = _classifier(TINY, 0), _classifier(DEEP, 1)
    between = FrameClassifier(CompactEncoder(DEEP), 7).eval()
    crops = torch.rand(4, 1, 40, 40) * 255
    for share, end in ((0.0, shallow), (1.0, deep)):
        between.load_state_dict(blended(shallow.state_dict(), deep.state_dict(), share))
        torch.testing.assert_close(between(crops), end(crops), rtol=1e-4, atol=1e-4)
    between.load_state_dict(blended(shallow.state_dict(), deep.state_dict(), 0.3))
    assert not any(torch.allclose(between(crops), end(crops), atol=1e-3) for end in (shallow, deep))


def test_a_blend_of_runs_says_what_it_is_made_of(tmp_path: Path) -> None:
    torch.set_num_threads(1)
    config = FitConfig(epochs=1, batch=8, sizes=(40,))
    for name, shape in (("shallow", TINY), ("deep", DEEP)):
        Run(config, shape, drawn_stills(), "cpu").save(tmp_path / name, {"shape": name})
    blend_runs(tmp_path / "shallow", tmp_path / "deep", 0.2, tmp_path / "blend")
    made = tmp_path / "blend" / "last.safetensors"
    record = read_record(made)
    assert (record["blend"], record["shape"], record["start"]["shape"]) == (0.2, "deep", "shallow")
    deep = read_average(tmp_path / "deep" / "last.safetensors")
    assert read_average(made).keys() == deep.keys()
    with pytest.raises(CheckpointError, match="missing"):
        blend_runs(tmp_path / "missing", tmp_path / "deep", 0.2, tmp_path / "none")
    assert not (tmp_path / "none").exists()


def test_a_start_that_does_not_fit_is_one_clear_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(fit, "load_split", lambda *_: drawn_stills())
    Run(FitConfig(epochs=1, batch=8, sizes=(40,)), TINY, drawn_stills(), "cpu").save(tmp_path / "other", {})
    start = tmp_path / "other" / "last.safetensors"
    command = ["--data", str(tmp_path), "--out", str(tmp_path / "run"), "--procs", "1", "--start"]
    assert fit.main([*command, str(start)]) == 1
    assert fit.main([*command, str(tmp_path / "none.safetensors")]) == 1
    first, second = capsys.readouterr().err.splitlines()
    assert "no counterpart: start from equal widths" in first
    assert "none.safetensors is no checkpoint" in second


def test_the_mean_of_ends_is_of_one_way_and_says_so(tmp_path: Path) -> None:
    torch.set_num_threads(1)
    folders = [tmp_path / name for name in ("one", "two", "three")]
    before: dict[str, object] = {}
    for number, folder in enumerate(folders):
        run = Run(FitConfig(epochs=1, batch=8, sizes=(40,), seed=number), TINY, drawn_stills(), "cpu")
        run.step = 100 * number
        run.train_epoch()
        run.save(folder, {"shape": asdict(TINY), **({"start": before} if before else {})})
        before = without_history(read_record(folder / "last.safetensors"))
    average_ends(folders, (0.25, 0.25, 0.5), tmp_path / "mean")
    one, two, three, mean = (read_average(folder / "last.safetensors") for folder in (*folders, tmp_path / "mean"))
    name = "encoder.project.weight"
    torch.testing.assert_close(mean[name], 0.25 * one[name] + 0.25 * two[name] + 0.5 * three[name])
    assert read_record(tmp_path / "mean" / "last.safetensors")["ends"] == [0.25, 0.25, 0.5]
    model, _ = read_classifier(tmp_path / "mean" / "last.safetensors")
    assert torch.isfinite(model.eval()(torch.rand(2, 1, 40, 40) * 255)).all()
    with pytest.raises(CheckpointError, match="did not go on from the run before"):
        average_ends([folders[2], folders[1]], (0.5, 0.5), tmp_path / "wrong")
    assert not (tmp_path / "wrong").exists()
