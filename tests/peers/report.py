"""The table in Markdown and the picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.peers.figures import Row

_HEAD = (
    "clip",
    "program",
    "CPU ms/frame",
    "ours ÷ it",
    "fps",
    "first label, s",
    "peak MB",
    "install MB",
    "named, delay s",
    "switches/s",
)


def table(rows: Sequence[Row], notes: Mapping[str, str], missing: Mapping[str, str], machine: str) -> str:
    """Everything as Markdown.

    Args:
        rows: In the order to show.
        notes: What each program is.
        missing: Who is not measured, and why.
        machine: Processor, cores and date.
    """
    lines = [machine, "", f"| {' | '.join(_HEAD)} |", f"|{'---|' * len(_HEAD)}"]
    for row in rows:
        named = "–" if row.found is None else f"{row.found[0]}/{row.found[1]}"
        if row.delay_s is not None:
            named += f", {row.delay_s:.2f}"
        ratio = "–" if row.ratio is None else f"{row.ratio:.2f}"
        cells = [row.clip, row.name, f"{row.cpu_ms:.1f}", ratio, f"{row.fps:.0f}", _or_dash(row.first_label_s)]
        cells += [f"{row.peak_mb:.0f}", _or_dash(row.install_mb), named, _or_dash(row.switches)]
        lines.append(f"| {' | '.join(cells)} |")
    lines += ["", *(f"- {name}: {note}" for name, note in notes.items() if note)]
    if missing:
        lines += ["", "Not measured here:", "", *(f"- {name}: {why}" for name, why in missing.items())]
    return "\n".join(lines) + "\n"


def draw(rows: Sequence[Row], path: Path) -> None:
    """Four bar charts of the first clip: cost, start, memory, size."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    shown = [row for row in rows if row.clip == rows[0].clip][::-1]
    panels = {
        "CPU ms a frame": [row.cpu_ms for row in shown],
        "start to first label, s": [row.first_label_s or 0.0 for row in shown],
        "peak memory, MB": [row.peak_mb for row in shown],
        "installed, MB": [float(row.install_mb or 0) for row in shown],
    }
    figure = Figure(figsize=(13, 0.9 + 0.34 * len(shown)), layout="constrained")
    FigureCanvasAgg(figure)
    for index, (title, values) in enumerate(panels.items()):
        axes = figure.add_subplot(1, len(panels), index + 1)
        colours = ["#2a7f62" if row.name.startswith("dferstream") else "#9aa5b1" for row in shown]
        bars = axes.barh([row.name for row in shown], values, color=colours)
        axes.bar_label(bars, labels=[f"{value:g}" if value else "–" for value in values], padding=3, fontsize=8)
        axes.set_title(title, fontsize=10)
        axes.set_xlim(0, max(values) * 1.25)
        axes.spines[["top", "right"]].set_visible(False)
        axes.tick_params(labelsize=8)
        if index:
            axes.set_yticks([])
    figure.savefig(path, dpi=110)


def _or_dash(value: float | None) -> str:
    return "–" if value is None else f"{value:g}"
