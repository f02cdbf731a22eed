"""What is handed on cannot be changed by whoever receives it."""

from __future__ import annotations

import dataclasses
from pathlib import Path, PurePath
from typing import Any

import numpy as np
import pytest

from calibration import evaluate, metrics
from calibration.apply import Calibration
from calibration.data import Heldout, Truth, TruthTable
from calibration.fitting import threshold

CONFIDENCE, CORRECT = np.array([0.9, 0.6, 0.4]), np.array([True, True, False])


@pytest.mark.parametrize(
    "handed_on",
    [
        Calibration(("a", "b")),
        Heldout(np.eye(2), np.arange(2), np.arange(2), {}),
        TruthTable(Path("truth.csv")),
        Truth(PurePath("a.mp4"), 1, ""),
        threshold.for_risk(CONFIDENCE, CORRECT, 0.4),
        metrics.reliability(CONFIDENCE, CORRECT)[0],
        metrics.risk_coverage(CONFIDENCE, CORRECT),
        metrics.score(np.array([0]), np.array([0]), "ab"),
        metrics.bootstrap(lambda rows: [0.0], 2, draws=2)[0],
        evaluate.Judged("none", np.eye(2), {}),
    ],
    ids=lambda each: type(each).__name__,
)
def test_no_field_can_be_set(handed_on: Any) -> None:
    name = dataclasses.fields(handed_on)[0].name
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(handed_on, name, None)
