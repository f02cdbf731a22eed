"""Teachers: what trained runs say of a crop, how it enters a run's targets, and what a card says of them."""

from __future__ import annotations

import shutil
from dataclasses import asdict, replace
from pathlib import Path

import pytest
import torch
from torch.nn import functional

from tests.train.default_model.test_fit import TINY, drawn_stills
from train.data.augment.still import swapped
from train.default_model import __main__ as pipeline
from train.default_model import fit as fit_module
from train.default_model.card import write_card
from train.default_model.checkpoint import name_of, read_classifier, read_record
from train.default_model.run import FitConfig, Run
from train.models.compact.encoder import EncoderConfig
from train.models.compact.separable import SeparableConfig
from train.training.replay import Replay

TINY_SEPARABLE = SeparableConfig(size_px=40, stem=8, widths=(8, 16), strides=(2, 2), taps=(0, 1), feature=16)
CONFIG = FitConfig(epochs=1, batch=8, sizes=(40,), precision="float32")


def _checkpoint(folder: Path, shape: EncoderConfig | SeparableConfig = TINY) -> Path:
    torch.set_num_threads(1)
    run = Run(CONFIG, shape, drawn_stills(), "cpu")
    run.train_epoch()
    run.save(folder, {"shape": asdict(shape), "history": [{"loss": 1.0}]})
    return folder / "last.safetensors"


class Told(torch.nn.Module):
    """A teacher that keeps what it was asked."""

    def __init__(self, label: int) -> None:
        super().__init__()
        self.label = label
        self.asked: list[torch.Tensor] = []

    def forward(self, crops: torch.Tensor) -> torch.Tensor:
        self.asked.append(crops.clone())
        return torch.eye(7)[self.label].repeat(len(crops), 1) * 50


def test_an_answer_is_the_mean_of_the_teachers_probabilities(tmp_path: Path) -> None:
    models = [
        read_classifier(_checkpoint(tmp_path / name, shape))[0]
        for name, shape in (("first", TINY), ("second", TINY_SEPARABLE))
    ]
    run = Run(CONFIG, TINY, drawn_stills(), "cpu", teachers=models)
    crops = torch.rand(5, 1, 40, 40) * 255
    with torch.no_grad():
        wanted = sum(model(crops).softmax(-1) for model in models) / 2
    torch.testing.assert_close(run.answers(crops), wanted)


@pytest.mark.parametrize("swap", [0.0, 1.0], ids=["as they are", "swapped"])
def test_teachers_and_the_learner_look_at_the_same_crops(monkeypatch: pytest.MonkeyPatch, swap: float) -> None:
    torch.set_num_threads(1)
    teacher = Told(3)
    settings = replace(CONFIG, teacher=0.25, mixup=0.0, mixup_share=0.0, swap_share=swap)
    run = Run(settings, TINY, drawn_stills(16), "cpu", teachers=[teacher])  # type: ignore[list-item]
    looked: list[torch.Tensor] = []
    targets: list[torch.Tensor] = []
    run.model.register_forward_pre_hook(lambda _module, given: looked.append(given[0].clone()))
    loss = functional.cross_entropy

    def spied(logits: torch.Tensor, wanted: torch.Tensor) -> torch.Tensor:
        targets.append(wanted)
        return loss(logits, wanted)

    monkeypatch.setattr(functional, "cross_entropy", spied)
    run.train_epoch()
    assert len(teacher.asked) == len(looked) == 2
    for asked, seen in zip(teacher.asked, looked, strict=True):
        torch.testing.assert_close(asked, seen)
    # Votes say nothing of a face put together from two: there the teachers' word is all there is.
    least = 1.0 if swap else 0.25
    assert all(wanted[:, 3].min() >= least - 1e-5 for wanted in targets)
    assert all(torch.allclose(wanted.sum(1), torch.ones(len(wanted))) for wanted in targets)
    assert swap or min(wanted[:, 3].min() for wanted in targets) < 0.3


def test_teachers_stay_as_they_are(tmp_path: Path) -> None:
    model, _ = read_classifier(_checkpoint(tmp_path))
    before = {name: value.clone() for name, value in model.state_dict().items()}
    Run(replace(CONFIG, swap_share=0.5), TINY, drawn_stills(), "cpu", teachers=[model]).train_epoch()
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert not model.training


def test_swapped_crops_are_one_above_and_the_other_below() -> None:
    crops = torch.stack([torch.zeros(1, 40, 40), torch.full((1, 40, 40), 100.0)])
    mixed = swapped(crops, torch.Generator().manual_seed(0))
    torch.testing.assert_close(mixed[:, :, :6], crops[:, :, :6], atol=0.5, rtol=0)
    torch.testing.assert_close(mixed[:, :, -3:], crops.flip(0)[:, :, -3:], atol=0.5, rtol=0)


def test_a_run_says_who_taught_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fit_module, "load_split", lambda *_: drawn_stills())
    teacher = _checkpoint(tmp_path / "teacher", TINY_SEPARABLE)
    files = fit_module.Files(tmp_path, tmp_path, tmp_path / "out", teachers=(teacher,))
    fit_module.fit(replace(CONFIG, validation=0.5), TINY, files, "cpu", 0, 1)
    (said,) = read_record(tmp_path / "out" / "last.safetensors")["teachers"]
    assert said["name"] == "a separable encoder"
    assert said["epoch"] == 1
    assert "history" not in said


def test_a_missing_teacher_is_one_clear_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(fit_module, "load_split", lambda *_: drawn_stills())
    command = ["--data", str(tmp_path), "--out", str(tmp_path / "out"), "--procs", "1"]
    assert fit_module.main([*command, "--teachers", str(tmp_path / "none.safetensors")]) == 1
    error = capsys.readouterr().err.strip()
    assert "none.safetensors is no checkpoint" in error
    assert "\n" not in error


@pytest.mark.parametrize("more", [[], ["--pretrained", "nowhere"]], ids=["not named", "missing"])
def test_without_the_teachers_start_nothing_is_begun(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], more: list[str]
) -> None:
    monkeypatch.setattr(pipeline, "run_module", lambda *_: pytest.fail("a run of hours was begun"))
    assert pipeline.main(["--data", str(tmp_path), "--run", str(tmp_path / "run"), *more]) == 1
    error = capsys.readouterr().err.strip()
    assert "npm pack" in error
    assert "\n" not in error


def test_the_card_names_teachers_and_what_they_started_from() -> None:
    shape = {"depths": [1, 2, 3, 1], "dropout": 0.1}
    first = {"epoch": 2, "spent_s": 60, "world": 2, "config": asdict(FitConfig()), "shape": shape}
    known = {**first, "shape": {"widths": [8, 16], "strides": [2, 2], "dropout": 0.2}}
    known |= {"pretrained": {"name": "known"}, "epoch": 5}
    teachers = [{"name": name_of(record), **record} for record in (first, {**known, "start": known, "epoch": 3})]
    taught = {**first, "start": first, "teachers": teachers}
    again = {"name": name_of(taught), **taught}
    encoder = {**taught, "start": taught, "teachers": [again, *teachers], "ends": [0.25, 0.75]}
    provenance = {
        "encoder": encoder, "head": {"seed": 1, "steps": 10}, "encoder_parameters": 1_000_000,
        "head_parameters": 100_000, "data_sha256": "0", "candidates": 1,
    }  # fmt: skip
    dev = {"war": (1.0, 0.0, 2.0), "uar": (1.0, 0.0, 2.0), "n": 2, "confusion": [[1, 0], [1, 0]]}
    figures = {"dev": dev, "crop_ms": 1.0, "crop_ms_where": "here", "composed": {}}
    card = write_card(("neutral", "happiness"), provenance, figures)
    assert "30% votes, 70% the mean answer of a residual encoder and a pre-trained separable encoder to" in card
    assert "answer of a residual encoder, a residual encoder and a pre-trained separable encoder to" in card
    assert card.count("- Teacher:") == 1
    assert "- then the mean of the weights in which the last 2 runs ended: 0.25, 0.75" in card
    assert "- Encoder: 2 epochs (1 minutes on 2 processes), [1, 2, 3, 1] blocks, dropout 0.1, targets: votes;" in card
    assert "- Teacher: 5 epochs (1 minutes on 2 processes), 2 blocks, dropout 0.2, targets: votes;" in card
    assert "VGGFace2" in card
    assert "--pretrained" in card
    assert "VGGFace2" not in write_card(("neutral", "happiness"), {**provenance, "encoder": first}, figures)


def _striped(values: list[int]) -> torch.Tensor:
    """Crops whose left half is black and whose right half has these levels."""
    crops = torch.zeros(len(values), 1, 40, 40)
    crops[..., 20:] = torch.tensor(values, dtype=torch.float32)[:, None, None, None]
    return crops


def test_remembered_crops_come_back_with_their_own_targets() -> None:
    replay = Replay(8, 40, 7)
    replay.add(_striped([10, 20, 30]), torch.eye(7)[:3])
    assert replay.count == 3
    crops, targets = replay.draw(200, torch.Generator().manual_seed(0))
    levels = crops.amax((1, 2, 3)).long()
    assert torch.equal(targets.argmax(1), levels // 10 - 1)
    assert set(levels.tolist()) == {10, 20, 30}
    # Either side may be the bright one: half of them come back mirrored.
    assert 60 < int((crops[:, 0, 0, 0] > 0).sum()) < 140


def test_the_oldest_crops_are_forgotten_first() -> None:
    replay = Replay(4, 40, 7)
    for value in (1, 2, 3):
        replay.add(_striped([value * 10, value * 10]), torch.eye(7)[[value, value]])
    assert replay.count == 4
    crops, _ = replay.draw(100, torch.Generator().manual_seed(0))
    assert set(crops.amax((1, 2, 3)).long().tolist()) == {20, 30}


def test_an_answer_serves_as_often_as_asked_once_enough_is_remembered() -> None:
    torch.set_num_threads(1)
    teacher = Told(3)
    settings = replace(CONFIG, replay=4, teacher=1.0)
    run = Run(settings, TINY, drawn_stills(40 * 8), "cpu", teachers=[teacher])  # type: ignore[list-item]
    learnt: list[int] = []
    run.model.register_forward_pre_hook(lambda _module, given: learnt.append(len(given[0])))
    run.train_epoch()
    assert learnt == [8] * 40
    assert [len(crops) for crops in teacher.asked] == [8] * 32 + [2] * 8


@pytest.mark.slow
def test_a_compiled_step_learns_what_a_plain_one_does() -> None:
    if shutil.which("g++") is None:
        pytest.skip("no C++ compiler (g++) to compile a step with")
    torch.set_num_threads(1)
    weights = []
    for compiled in (False, True):
        run = Run(replace(CONFIG, compiled=compiled), replace(TINY, drop_path=0.0, dropout=0.0), drawn_stills(), "cpu")
        run.train_epoch()
        weights.append(run.average)
    assert weights[0].keys() == weights[1].keys()
    for name, value in weights[0].items():
        torch.testing.assert_close(weights[1][name], value, rtol=1e-2, atol=1e-3)


@pytest.mark.parametrize(
    ("more", "remedy"),
    [
        (["--replay", "2", "--sizes", "48", "56"], "--sizes 56"),
        (["--replay", "129", "--sizes", "56"], "1 to 128"),
        (["--compiled"], "apt install g++"),
        (["--encoder", "separable", "--drop-path", "0"], "--encoder separable has none"),
    ],
    ids=["replay of two sizes", "replay of nothing", "no compiler", "no blocks to skip"],
)
def test_settings_that_cannot_be_met_are_refused_before_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], more: list[str], remedy: str
) -> None:
    monkeypatch.setattr(fit_module, "load_split", lambda *_: drawn_stills())
    monkeypatch.setattr(fit_module, "fit", lambda *_: pytest.fail("a run was begun"))
    monkeypatch.setenv("CXX", "no-such-compiler")
    command = ["--data", str(tmp_path), "--out", str(tmp_path / "out"), "--device", "cpu", "--procs", "1"]
    assert fit_module.main([*command, *more]) == 1
    error = capsys.readouterr().err.strip()
    assert remedy in error
    assert "\n" not in error


def test_the_encoder_drops_what_the_command_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fit_module, "load_split", lambda *_: drawn_stills())
    shapes: list[object] = []
    monkeypatch.setattr(fit_module, "fit", lambda _config, shape, *_: shapes.append(shape))
    command = ["--data", str(tmp_path), "--out", str(tmp_path / "out"), "--device", "cpu", "--procs", "1"]
    assert fit_module.main(command) == 0
    assert fit_module.main([*command, "--dropout", "0", "--drop-path", "0"]) == 0
    assert shapes == [EncoderConfig(), EncoderConfig(dropout=0.0, drop_path=0.0)]
