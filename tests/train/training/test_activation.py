"""A run that begins with a CLIP of another activation keeps it without that CLIP."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from torch import nn
from transformers import CLIPModel

from engine.settings import SettingsError
from tests.train.models.clip.test_oracle import small_clip
from train.models.clip.size import SIZES
from train.models.clip.weights import read_clip
from train.models.registry import build
from train.training.transfer import model_settings


def test_options_carry_the_activation_into_the_layers_and_the_provenance() -> None:
    model = build("tg-dfer", "tiny", {"activation": "gelu"})
    assert [type(m) for m in model.encoder.backbone.modules() if isinstance(m, nn.GELU)] == [nn.GELU] * SIZES[
        "tiny"
    ].layers
    stated = json.loads(json.dumps(model_settings(model, "tiny")))
    assert stated["options"]["activation"] == "gelu"
    again = build(stated["name"], stated["encoder"], stated["options"], text_side="labels")
    again.encoder.backbone.load_state_dict(model.encoder.backbone.state_dict())
    frames = torch.randn(2, 3, 32, 32)
    torch.testing.assert_close(again.encoder.backbone(frames), model.encoder.backbone(frames))


def test_weights_of_another_activation_than_asked_for_are_refused(tmp_path: Path) -> None:
    CLIPModel(small_clip("gelu")).save_pretrained(tmp_path)  # type: ignore[no-untyped-call]
    size = read_clip(tmp_path).size
    with pytest.raises(SettingsError, match="it has activation gelu for quick_gelu"):
        build("tg-dfer", size, {"activation": "quick_gelu"}, weights=tmp_path)
