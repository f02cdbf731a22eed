from __future__ import annotations

import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn import metrics as oracle

from calibration import metrics


@given(st.lists(st.tuples(st.integers(-3, 3), st.booleans()), min_size=2, max_size=60))
def test_auroc_agrees_with_scikit_learn_with_ties(rows: list[tuple[int, bool]]) -> None:
    values, positive = np.array([r[0] for r in rows], float), np.array([r[1] for r in rows])
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # one-sided clips are usual: no word of a division by zero
        ours = metrics.auroc(values, positive)
    if positive.all() or not positive.any():
        assert np.isnan(ours)
    else:
        assert ours == pytest.approx(oracle.roc_auc_score(positive, values))


def test_clip_auroc_leaves_unknown_frames_out() -> None:
    relevance = np.array([[0.1, 0.9, 0.5, 0.2], [0.1, 0.9, 0.5, 0.2]])
    truth = np.array([[0.0, 1.0, -1.0, 0.0], [-1.0] * 4])
    result = metrics.clip_auroc(relevance, truth)
    assert result[0] == 1.0
    assert np.isnan(result[1])
