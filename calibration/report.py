"""Pictures of a calibration: reliability diagram and risk–coverage curve. Only this module needs matplotlib."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from calibration import metrics
from calibration.data import Heldout
from calibration.evaluate import Judged
from calibration.settings import CalibrationError
from engine.files import replace_file


def draw(folder: Path, rows: Heldout, judged: list[Judged], threshold: float | None = None) -> list[Path]:
    """Write ``reliability.png`` and ``risk_coverage.png``.

    Args:
        folder: Where to; created if missing.
        rows: Held-out answers.
        judged: Methods to compare, plain softmax first.
        threshold: Abstention threshold to mark on the last one's curve.

    Raises:
        CalibrationError: If matplotlib is not installed.
    """
    try:
        import matplotlib
        from matplotlib.figure import Figure
    except ImportError as error:
        raise CalibrationError("pictures need matplotlib", "pip install 'dferstream[calibrate]'") from error
    matplotlib.use("Agg")
    folder.mkdir(parents=True, exist_ok=True)
    return [
        _save(_reliability(Figure, rows, judged), folder / "reliability.png"),
        _save(_risk_coverage(Figure, rows, judged, threshold), folder / "risk_coverage.png"),
    ]


def _reliability(figure: Any, rows: Heldout, judged: list[Judged]) -> Any:
    made = figure(figsize=(5 * len(judged), 5), layout="constrained")
    for place, each in enumerate(judged, start=1):
        axes = made.add_subplot(1, len(judged), place)
        bins = metrics.reliability(*metrics.top_label(each.probs, rows.labels))
        axes.plot([0, 1], [0, 1], color="0.7", lw=1)
        axes.plot([b.confidence for b in bins], [b.accuracy for b in bins], "o-", ms=4)
        axes.vlines([b.confidence for b in bins], [b.confidence for b in bins], [b.accuracy for b in bins], lw=1)
        ece = each.figures["ece"]
        low, high = ece["interval"]
        axes.set(
            xlim=(0, 1),
            ylim=(0, 1),
            xlabel="mean confidence",
            ylabel="accuracy",
            aspect="equal",
            title=f"{each.method}: ECE {ece['value']:.3f} [{low:.3f}, {high:.3f}]",
        )
    made.suptitle(f"{len(rows.labels)} held-out answers in {metrics.BINS} bins of equal mass, cross-fitted")
    return made


def _risk_coverage(figure: Any, rows: Heldout, judged: list[Judged], threshold: float | None) -> Any:
    made = figure(figsize=(6, 5), layout="constrained")
    axes = made.add_subplot()
    for each in judged:
        curve = metrics.risk_coverage(*metrics.top_label(each.probs, rows.labels))
        axes.plot(curve.coverage, curve.risk, label=f"{each.method}: AURC {curve.area:.4f}")
    if threshold is not None:
        kept = curve.coverage[curve.threshold >= threshold]
        axes.axvline(float(kept[-1]) if kept.size else 0.0, color="0.5", ls=":", label=f"threshold {threshold:.2f}")
    axes.set(xlim=(0, 1), ylim=(0, None), xlabel="share of answers kept", ylabel="share of errors among them")
    axes.legend()
    axes.set_title("What abstaining gains")
    return made


def _save(figure: Any, path: Path) -> Path:
    replace_file(path, lambda temporary: figure.savefig(temporary, dpi=120))
    return path
