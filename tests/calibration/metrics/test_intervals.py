from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from calibration import metrics
from calibration.apply import softmax
from calibration.metrics.intervals import Rows
from tests.calibration.samples import sample


def test_the_interval_holds_the_figure_and_twins_widen_it() -> None:
    logits, labels = sample(6, 400)
    twins = np.repeat(np.arange(100), 4)
    doubled_logits, doubled_labels = np.repeat(logits[:100], 4, axis=0), np.repeat(labels[:100], 4)
    probs = softmax(doubled_logits)

    def both(rows: Rows) -> list[float]:
        return [measure(probs[rows], doubled_labels[rows]) for measure in (metrics.war, metrics.ece)]

    war, ece = metrics.bootstrap(both, 400, twins, 200, centred=True)
    naive, _ = metrics.bootstrap(both, 400, None, 200, centred=True)
    assert (war.value, ece.value) == (metrics.war(probs, doubled_labels), metrics.ece(probs, doubled_labels))
    assert war.low < war.value < war.high
    assert ece.low < ece.value < ece.high
    assert war.high - war.low > 1.5 * (naive.high - naive.low)


@settings(max_examples=20)
@given(st.integers(0, 1000))
def test_bootstrap_interval_holds_the_value_and_is_wider_over_groups(seed: int) -> None:
    rng = np.random.default_rng(seed)
    groups = [f"face-{i // 8}" for i in range(160)]
    # Whole faces are right or wrong together, so clips of a face are no independent evidence.
    right = np.repeat(rng.random(20) < 0.7, 8)
    truth = rng.integers(0, 3, 160)
    predicted = np.where(right, truth, (truth + 1) % 3)
    by_clip, _ = metrics.war_and_uar_intervals(truth, predicted, 3, draws=200)
    by_face, uar = metrics.war_and_uar_intervals(truth, predicted, 3, groups, draws=200)
    assert by_face.low <= by_face.value <= by_face.high
    assert uar.low <= uar.high
    if 0.2 < right.mean() < 0.95:
        assert by_face.high - by_face.low > by_clip.high - by_clip.low


def test_a_paired_gain_is_sure_where_every_face_gains() -> None:
    truth = np.arange(70) % 7
    gain = metrics.paired_uar_gain(np.ones((2, 70), bool), np.zeros((2, 70), bool), truth)
    assert (gain.value, gain.low, gain.high) == pytest.approx((100, 100, 100))
