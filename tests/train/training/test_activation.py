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
    backbone = model.get_submodule("encoder.backbone")
    assert sum(type(m) is nn.GELU for m in backbone.modules()) == SIZES["tiny"].layers
    stated = json.loads(json.dumps(model_settings(model, "tiny")))
    assert stated["options"]["activation"] == "gelu"
    again = build(stated["name"], stated["encoder"], stated["options"], text_side="labels")
    tuned = again.get_submodule("encoder.backbone")
    tuned.load_state_dict(backbone.state_dict())
    frames = torch.randn(2, 3, 32, 32)
    torch.testing.assert_close(tuned(frames), backbone(frames))


def test_weights_of_another_activation_than_asked_for_are_refused(tmp_path: Path) -> None:
    CLIPModel(small_clip("gelu")).save_pretrained(tmp_path)
    size = read_clip(tmp_path).size
    with pytest.raises(SettingsError, match="it has activation gelu for quick_gelu"):
        build("tg-dfer", size, {"activation": "quick_gelu"}, weights=tmp_path)
