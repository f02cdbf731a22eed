"""Random weights as online-emotion-detection loads them: a pickled timm model, in its environment's folder."""

from __future__ import annotations

import sys
from pathlib import Path

import cpu_torchvision  # noqa: F401  # first
import timm
import torch

torch.manual_seed(0)
path = Path(sys.argv[1]) / "weights.pt"
torch.save(timm.create_model("tf_efficientnet_b0", num_classes=8).eval(), path)
