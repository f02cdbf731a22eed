"""A bundle taken apart into runs: the encoder answers as the bundle's, and what is said of it comes along."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from engine.backends import open_backend
from engine.bundle import Bundle, write_bundle
from engine.errors import DferError
from tests.train.drawn_stills import drawn_stills
from train.default_model.recipe import MakeSettings
from train.default_model.ship import read_model
from train.default_model.unpack import unpack
from train.default_model.weights import FILE, lineage, read_run

SHIPPED = Path(__file__).parents[3] / "stream" / "default_model"


def test_an_unpacked_bundle_is_the_run_it_was_made_of(tmp_path: Path) -> None:
    bundle = Bundle.open(SHIPPED)
    unpack(MakeSettings(unpack=SHIPPED, run=tmp_path), drawn_stills(64), "average")
    run = read_run(tmp_path / "average")
    assert run.record["unpacked"] == bundle.sha256
    assert run.record["data_sha256"] == bundle.provenance["data_sha256"]
    rows = [row["name"] for row in lineage(run, tmp_path)]
    assert rows == [row["name"] for row in bundle.provenance["lineage"]]
    size = bundle.spec.crop.size_px
    crops = np.random.default_rng(0).integers(0, 256, (4, 1, size, size, 3)).astype(np.uint8)
    backend = open_backend(bundle, threads=1)
    features = np.array(backend.encode(crops), np.float32)
    index = np.repeat(np.arange(4, dtype=np.int32)[:, None], bundle.spec.window, 1)
    logits = np.array(backend.head(features, index).logits)
    backend.close()
    bias = tuple(bundle.provenance["model"]["options"]["class_bias"])
    model, _ = read_model(run.classifier(), tmp_path / "head" / FILE, bias)
    with torch.inference_mode():
        own = model.encode_units(torch.from_numpy(crops))
        answer = model.head(own[torch.from_numpy(index).long()]).logits
    np.testing.assert_allclose(own.numpy(), features, atol=2e-3)
    np.testing.assert_allclose(answer.numpy(), logits, atol=2e-2)


def test_another_bundle_is_refused(tmp_path: Path) -> None:
    bundle = Bundle.open(SHIPPED)
    files: dict[str, bytes | Path] = {name: bundle.path / name for name in bundle.files}
    write_bundle(tmp_path / "other", bundle.spec, files, {}, {})
    with pytest.raises(DferError, match="no bundle of the default model"):
        unpack(replace(MakeSettings(), unpack=tmp_path / "other", run=tmp_path), drawn_stills(), "average")
