"""What the pictures show, not how they look."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from calibration import metrics, report
from calibration.data import Heldout
from calibration.evaluate import Judged, judge
from calibration.settings import CalibrationError
from tests.calibration.samples import sample

figure_module = pytest.importorskip("matplotlib.figure", reason="pictures need the extra `calibrate`")


def test_pictures_show_each_method_and_the_share_that_a_threshold_keeps(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: dict[int, Any] = {}
    saved = figure_module.Figure.savefig

    def savefig(figure: Any, *args: Any, **kwargs: Any) -> None:
        drawn[len(drawn)] = figure
        saved(figure, *args, **kwargs)

    monkeypatch.setattr(figure_module.Figure, "savefig", savefig)
    logits, labels = sample(9, 300, classes=3, sharpness=2)
    rows = Heldout(logits, labels, np.arange(300), {})
    judged: list[Judged] = [judge(method, rows, 5, 0, 20) for method in ("none", "temperature")]
    confidence, correct = metrics.top_label(judged[-1].probs, labels)
    made = report.draw(tmp_path / "new" / "folder", rows, judged, threshold=0.7)
    assert [path.name for path in made] == ["reliability.png", "risk_coverage.png"]
    assert all(path.stat().st_mode & 0o777 == 0o644 for path in made)
    reliability, curves = drawn[0].axes, drawn[1].axes[0]
    assert [axes.get_title().split(":")[0] for axes in reliability] == ["none", "temperature"]
    diagonal, points = reliability[1].lines[:2]
    assert diagonal.get_xydata().tolist() == [[0, 0], [1, 1]]
    bins = metrics.reliability(confidence, correct)
    np.testing.assert_allclose(points.get_xydata(), [[each.confidence, each.accuracy] for each in bins])
    assert f"{judged[1].figures['ece']['value']:.3f}" in reliability[1].get_title()
    *lines, mark = curves.lines
    curve = metrics.risk_coverage(confidence, correct)
    np.testing.assert_allclose(lines[1].get_xydata(), np.stack([curve.coverage, curve.risk], axis=1))
    assert [line.get_label() for line in lines] == [
        f"{each.method}: AURC {metrics.risk_coverage(*metrics.top_label(each.probs, labels)).area:.4f}"
        for each in judged
    ]
    assert mark.get_xdata()[0] == pytest.approx((confidence >= 0.7).mean())
    assert curves.get_xlim() == (0, 1)


def test_without_matplotlib_pictures_are_refused_with_the_remedy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    rows = Heldout(*sample(9, 50, classes=3), np.arange(50), {})
    with pytest.raises(CalibrationError, match=r"pictures need matplotlib; pip install 'dferstream\[calibrate\]'"):
        report.draw(tmp_path / "out", rows, [])
    assert not (tmp_path / "out").exists()
