"""The command line: from synthetic clips to a bundle, and mistakes in one line."""

import json
from pathlib import Path

import pytest
import torch

from engine.bundle.bundle import Bundle
from train.cli import main
from train.training.fit import load_run

SMALL = [
    "--set", "data.workers=0", "--set", "data.validation=0.25", "--set", "loop.batch=7", "--set", "loop.epochs=1",
    "--set", "model.options={frames = 8, heads = 2, head_width = 16, temperature = 0.1}",
    "--set", "model.text_side=labels",
    "--set", "optim.name=adamw", "--set", "optim.lr=1e-3", "--device", "cpu", "--quiet",
]  # fmt: skip


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One run on clips written to the disk, evaluated."""
    root = tmp_path_factory.mktemp("cli")
    assert main(["synth", str(root / "clips"), "--clips", "42"]) == 0
    data = ["--source", "clips", "--data", str(root / "clips")]
    assert main(["fit", *data, "--encoder", "tiny", "--out", str(root / "run"), *SMALL]) == 0
    assert main(["evaluate", str(root / "run"), "--device", "cpu"]) == 0
    return root / "run"


def test_evaluate_leaves_figures_and_a_report(run: Path) -> None:
    figures = json.loads((run / "evaluation-best.json").read_text())
    # The test part of `synth` has other faces than the training part.
    assert figures["clips"] == 13
    assert set(figures["temporal_audit"]) == {"shuffle", "reverse", "repeat-peak"}
    assert figures["localisation"]["clips"] > 0
    page = (run / "report.html").read_text()
    assert "Which samples drove the score" in page
    assert "Temporal audit" in page


def test_a_run_becomes_a_bundle_and_a_bundle_the_start_of_a_run(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["export", str(run), "--out", str(tmp_path / "bundle")]) == 0
    bundle = Bundle.open(tmp_path / "bundle")
    assert bundle.spec.samples == 8
    card = (tmp_path / "bundle" / "MODEL_CARD.md").read_text()
    assert "UAR" in card
    capsys.readouterr()
    tuned = ["fit", "--from", str(tmp_path / "bundle"), "--source", "synthetic", "--out", str(tmp_path / "tuned")]
    steps = [w for w in SMALL if not w.startswith("model.")]
    steps = [w for i, w in enumerate(steps) if w != "--set" or (i + 1 < len(steps) and "=" in steps[i + 1])]
    assert main([*tuned, *steps, "--set", "data.clips=28", "--set", "optim.lr=0.0"]) == 0
    # At rate 0 the tuned run still has the bundle's weights: it answers the golden vectors.
    model, _ = load_run(tmp_path / "tuned")
    golden = bundle.golden()
    with torch.no_grad():
        features = model.encode_units(torch.from_numpy(golden.crops))
        logits = model.head(features[torch.from_numpy(golden.windows).long()]).logits
    torch.testing.assert_close(features, torch.from_numpy(golden.features), atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(logits, torch.from_numpy(golden.logits), atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["fit", "--source", "dfew", "--data", "/nowhere", "--out", "x", "--encoder", "tiny"], "no such data folder"),
        (["fit", "--source", "dfew", "--out", "x", "--encoder", "tiny"], "--data"),
        (["fit", "--model", "tgdfer", "--out", "x"], "model.name must be one of"),
        (["fit", "--set", "loop.epoch=1", "--out", "x"], "did you mean loop.epochs?"),
        (["fit", "--select", "test", "--source", "synthetic", "--out", "x"], "paper-protocol"),
        (["fit", "--source", "synthetic", "--set", "model.options.fine_deph=2", "--out", "x"], "fine_depth"),
        (["evaluate", "/nowhere"], "holds no training run"),
        (["export", "/nowhere", "--out", "x"], "holds no training run"),
        (["table", "9"], "no table '9'"),
        (["prepare", "/nowhere", "--out", "x"], "cannot read annotation file"),
    ],
)
def test_mistakes_are_one_line_and_a_status(
    words: list[str], message: str, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(words) == 2
    error = capsys.readouterr().err
    assert message in error
    assert "Traceback" not in error
    assert error.count("\n") == 1
    assert not (tmp_path / "x" / "config.json").exists()
