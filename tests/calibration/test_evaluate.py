"""What is judged, and what the bundle will carry of it."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from calibration import evaluate, metrics
from calibration.apply import Floats
from calibration.data import Heldout
from calibration.fitting import temperature
from calibration.metrics import Labels
from calibration.metrics.intervals import Rows
from engine.bundle import softmax
from tests.calibration.samples import sample

Measure = Callable[[Floats, Labels], float]
LABELS = ("happiness", "neutral", "fear")


@pytest.fixture(scope="module")
def rows() -> Heldout:
    logits, labels = sample(11, 600, classes=3, sharpness=2)
    return Heldout(logits, labels, np.arange(600) // 2, {"no score": 4})


def interval(figure: Measure, probs: Floats, rows: Heldout) -> metrics.Interval:
    """The figure and its interval as `judge` is asked for them below, not rounded."""

    def measure(chosen: Rows) -> list[float]:
        return [figure(probs[chosen], rows.labels[chosen])]

    return metrics.bootstrap(measure, len(probs), rows.groups, 50, seed=1, centred=True)[0]


def test_figures_are_of_pooled_folds_and_rounded_to_five_places(rows: Heldout) -> None:
    plain, cooled = (evaluate.judge(method, rows, 4, 1, 50) for method in ("none", "temperature"))
    np.testing.assert_array_equal(plain.probs, softmax(rows.logits))
    np.testing.assert_array_equal(
        cooled.probs, temperature.cross_fit("temperature", rows.logits, rows.labels, rows.groups, 4, 1)
    )
    for judged in (plain, cooled):
        for name, figure in evaluate.FIGURES.items():
            exact = interval(figure, judged.probs, rows)
            said = judged.figures[name]
            assert all(round(each, 5) == each for each in (said["value"], *said["interval"]))
            assert [said["value"], *said["interval"]] == pytest.approx([exact.value, exact.low, exact.high], abs=5.1e-6)
    assert cooled.figures["aurc"]["value"] < plain.figures["war"]["value"]
    least = np.argsort(cooled.probs.max(axis=1))[:60]
    wrong = cooled.probs.argmax(axis=1) != rows.labels
    assert cooled.figures["errors_removed_at_10pct"]["value"] == round(wrong[least].sum() / wrong.sum(), 5)


def test_a_calibration_carries_its_threshold_reference_and_origin(rows: Heldout) -> None:
    plain, cooled = (evaluate.judge(method, rows, 5, 0, 20) for method in ("none", "temperature"))
    made = evaluate.make(rows, LABELS, cooled, plain, 0.1, folds=5, seed=0)
    assert (made.method, made.risk, made.labels) == ("temperature", 0.1, LABELS)
    assert made.scale == temperature.fit("temperature", rows.logits, rows.labels, LABELS).scale
    assert made.threshold is not None
    kept = cooled.probs.max(axis=1) >= made.threshold - 5e-7
    chosen = made.metrics["threshold"]
    assert made.threshold == chosen["threshold"] == pytest.approx(cooled.probs.max(axis=1)[kept].min(), abs=5.1e-7)
    assert chosen["coverage"] == pytest.approx(kept.mean(), abs=5.1e-7)
    assert chosen["risk"] <= 0.1
    faces = rows.logits[rows.labels == 1]
    np.testing.assert_allclose(np.array(made.neutral_logits), (faces - faces.mean(axis=1, keepdims=True)).mean(axis=0))
    assert (made.metrics["before"], made.metrics["after"]) == (plain.figures, cooled.figures)
    assert made.provenance == {
        "rows": 600,
        "groups": 300,
        "per_class": {name: int((rows.labels == c).sum()) for c, name in enumerate(LABELS)},
        "skipped": {"no score": 4},
        "sha256": rows.sha256,
        "folds": 5,
        "seed": 0,
    }
    nameless = evaluate.make(rows, ("a", "b", "c"), cooled, plain, 0.1)
    assert nameless.neutral_logits is None
    certain = evaluate.make(rows, LABELS, cooled, plain, 0.1, 0.95).threshold
    assert certain is not None
    assert certain > made.threshold
