from __future__ import annotations

import numpy as np
import pytest

from engine.backends import BackendError, HeadOutput
from stream.window.result import WindowReport, WindowScore


def relevance_of(*raw: float) -> list[float]:
    output = HeadOutput(np.zeros((2, 7), np.float32), np.array([[9] * len(raw), raw], np.float32), None)
    return [float(share) for share in WindowScore.of(output, 1, 5, 3, True).relevance]


def test_relevance_is_not_negative_and_sums_to_one() -> None:
    assert relevance_of(1, 3, -2, 0) == [0.25, 0.75, 0, 0]
    assert relevance_of(1, float("nan"), 1, 0) == [0.5, 0, 0.5, 0]
    # A head that finds nothing relevant finds everything equally so.
    assert relevance_of(0, 0, -1, float("nan")) == [0.25] * 4


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
@pytest.mark.parametrize("where", ["logits", "now"])
def test_scores_that_are_no_numbers_are_a_fault_of_the_back_end(bad: float, where: str) -> None:
    logits, now = np.zeros((2, 7), np.float32), np.zeros((2, 7), np.float32)
    (logits if where == "logits" else now)[1, 3] = bad
    output = HeadOutput(logits, np.ones((2, 4), np.float32), now)
    WindowScore.of(output, 0, 5, 3, True)
    with pytest.raises(BackendError, match="its scores are not finite numbers"):
        WindowScore.of(output, 1, 5, 3, True)


def test_a_score_is_its_own_row_and_keeps_it() -> None:
    logits = np.arange(14, dtype=np.float32).reshape(2, 7)
    score = WindowScore.of(HeadOutput(logits, np.ones((2, 4), np.float32), logits + 100), 1, 5, 3, False)
    logits[:] = -1  # the back end's memory is used again
    assert score.logits.tolist() == list(range(7, 14))
    assert score.now is not None
    assert score.now.tolist() == list(range(107, 114))
    assert (score.t_ns, score.frame_id, score.full) == (5, 3, False)


@pytest.mark.parametrize(
    ("n", "gaps", "full", "starved"), [(15, 0, False, False), (16, 8, True, False), (16, 9, True, True)]
)
def test_a_window_is_full_with_all_its_samples_and_starved_with_most_of_them_repeated(
    n: int, gaps: int, full: bool, starved: bool
) -> None:
    report = WindowReport(n, 16, 1875.0, gaps, None)
    assert (report.full, report.starved) == (full, starved)
