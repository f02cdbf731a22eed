"""Going on from a bundle: its graph has batch normalisation folded away, and the model must answer as before."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from engine.export import export_bundle
from train.checkpoint import CheckpointError
from train.models.registry import build
from train.transfer import bundle_model, model_settings, start_from


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
