"""Going on from a bundle: its graph has batch normalisation folded away, and the model must answer as before."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from engine.bundle.bundle import Bundle
from engine.export.export import export_bundle
from stream import cli as stream_cli
from stream.assemble import DEFAULT_BUNDLE
from train.cli import main
from train.data.layouts.synthetic import SyntheticClips, SyntheticSettings
from train.data.synthesise import write_synthetic
from train.models.registry import build
from train.training.checkpoint import CheckpointError
from train.training.fit import load_run
from train.training.transfer import bundle_model, model_settings, start_from


@pytest.fixture(autouse=True, scope="module")
def _one_thread() -> None:
    torch.set_num_threads(1)


def crops_of(model: object, count: int, seed: int) -> torch.Tensor:
    size = model.spec().crop.size_px  # type: ignore[attr-defined]
    rng = np.random.default_rng(seed)
    return torch.from_numpy(rng.integers(0, 255, (count, 1, size, size, 3), np.uint8))


def test_a_folded_encoder_answers_as_before_in_evaluation_and_nearly_so_in_training(tmp_path: Path) -> None:
    torch.manual_seed(3)
    model = build("tg-dfer", "compact", {"heads": 4, "pool": "attention"}).eval()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            assert module.running_mean is not None
            assert module.running_var is not None
            nn.init.normal_(module.running_mean, 0, 0.2)
            nn.init.uniform_(module.running_var, 0.5, 1.5)
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, 0, 0.2)
    export_bundle(
        model.runtime_encoder(), model.runtime_head(), model.spec(), tmp_path / "bundle",
        golden_crops=crops_of(model, 8, 0).numpy(), provenance={"model": model_settings(model, "compact")}, metrics={},
    )  # fmt: skip
    model.eval()
    known = bundle_model(tmp_path / "bundle")
    assert (known["name"], known["encoder"]) == ("tg-dfer", "compact")
    torch.manual_seed(4)
    again = build(known["name"], known["encoder"], known["options"])
    training = crops_of(model, 32, 1)
    transfer = start_from(again, tmp_path / "bundle", training)
    assert transfer.unused == ()
    assert transfer.missing == ()
    with torch.no_grad():
        for seed in (1, 2):
            crops = crops_of(model, 32, seed)
            expected = model.encode_units(crops)
            torch.testing.assert_close(again.eval().encode_units(crops), expected, atol=2e-4, rtol=2e-4)
        windows = model.encode_units(crops).reshape(2, 16, -1)
        torch.testing.assert_close(again.head(windows).logits, model.head(windows).logits, atol=2e-3, rtol=1e-3)
        # The batch's own statistics on the clips they were measured on: dropout aside, the same answer.
        again.train()
        for module in again.modules():
            if not isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
                module.training = False
        torch.testing.assert_close(again.encode_units(training), model.encode_units(training), atol=2e-3, rtol=2e-3)


def test_a_source_that_is_neither_bundle_nor_run_or_fits_nowhere_is_named(tmp_path: Path) -> None:
    model = build("tg-dfer", "tiny", text_side="labels")
    crops = crops_of(model, 2, 0)
    with pytest.raises(CheckpointError, match="neither a bundle nor a training run"):
        start_from(model, tmp_path, crops)


def test_the_shipped_bundle_is_tuned_on_own_clips_and_runs_in_the_daemon(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    clips = SyntheticClips(SyntheticSettings(clips=21, identities=7, frames=8, noise=0.25, size_px=56, seed=3))
    write_synthetic(clips, tmp_path / "clips", "train")
    words = ["fit", "--from", str(DEFAULT_BUNDLE), "--source", "clips", "--data", str(tmp_path / "clips")]
    words += ["--set", "data.workers=0", "--set", "loop.epochs=1", "--set", "loop.batch=7", "--quiet"]
    words += ["--set", "optim.lr=1e-3", "--device", "cpu", "--out", str(tmp_path / "run")]
    assert main(words) == 0
    assert main(["export", str(tmp_path / "run"), "--out", str(tmp_path / "bundle"), "--weights", "last"]) == 0
    shipped, tuned = Bundle.open(DEFAULT_BUNDLE), Bundle.open(tmp_path / "bundle")
    assert tuned.spec == shipped.spec
    stated = tuned.provenance["model"]
    assert stated == shipped.provenance["model"]
    assert (stated["name"], stated["encoder"]) == ("tg-dfer", "compact")
    assert tuned.provenance["config"]["data"]["source"] == "clips"
    # The bundle's encoder is frozen: it answers as before on clips it never saw, normalisation statistics included.
    assert stated["options"]["image_encoder"] == "frozen"
    model, _ = load_run(tmp_path / "run", "last.safetensors")
    golden = shipped.golden()
    with torch.no_grad():
        features = model.encode_units(torch.from_numpy(golden.crops))
        logits = model.head(features[torch.from_numpy(golden.windows).long()]).logits
    torch.testing.assert_close(features, torch.from_numpy(golden.features), atol=2e-3, rtol=2e-3)
    assert (logits - torch.from_numpy(golden.logits)).abs().max() > 0.01
    capsys.readouterr()
    run = ["run", "--source", "demo://", "--bundle", str(tmp_path / "bundle"), "--frames", "20", "--json"]
    assert stream_cli.main([*run, "--bind", f"ipc://{tmp_path}/tuned.ipc"]) == 0
    messages = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert len(messages) == 20
    assert {m["model"]["sha256"] for m in messages} == {tuned.sha256}
    scored = [face for m in messages for face in m["faces"] if face["probs"]]
    assert scored
    assert all(sum(face["probs"].values()) == pytest.approx(1, abs=1e-4) for face in scored)
