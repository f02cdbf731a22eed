"""Whether a soak grew: slopes with their 95 % interval, counts that must stay, and the picture of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import theilslopes

COUNTS = ("descriptors", "threads", "children", "starts")
WARM_SHARE = 0.2
"""Of the run, not judged: caches fill, and not every kind of fault has been met yet."""
Samples = Sequence[Mapping[str, Any]]


def judge(samples: Samples) -> dict[str, Any]:
    """The verdict over samples (``tests.faults.soak.Sample`` as mappings).

    Memory holds where zero or less lies within the interval of the slope (Theil and Sen), counts where the last third
    has the first third's median and nothing above what was there before.
    """
    judged = [each for each in samples if each["t_s"] >= WARM_SHARE * samples[-1]["t_s"]]
    hours = np.array([each["t_s"] for each in judged]) / 3600
    daemons = []
    for k in range(len(judged[0]["rss_mb"])):
        slope, _, low, high = theilslopes(_column(judged, "rss_mb", k), hours, 0.95)
        told = {"rss_mb_per_h": [round(float(each), 2) for each in (low, slope, high)], "rss_holds": bool(low <= 0)}
        told["rss_mb"] = [min(_column(judged, "rss_mb", k)), max(_column(judged, "rss_mb", k))]
        for name in COUNTS:
            values = _column(judged, name, k)
            third = max(len(values) // 3, 1)
            still = np.median(values[:third]) == np.median(values[-third:])
            told[name] = [int(min(values)), int(max(values))]
            told[f"{name}_hold"] = bool(still and max(values[-third:]) <= max(values[: -third or None]))
        told["starts_hold"] = told["starts"] == [1, 1]
        daemons.append(told)
    healed = sorted(each["healed_s"] for each in samples)
    return {
        "minutes": round(samples[-1]["t_s"] / 60, 1),
        "faults": len(samples),
        "healed_s": {"median": healed[len(healed) // 2], "p95": healed[int(len(healed) * 0.95)], "max": healed[-1]},
        "daemons": daemons,
        "holds": all(value for told in daemons for name, value in told.items() if name.endswith(("_hold", "_holds"))),
    }


def picture(samples: Samples, path: Path) -> None:
    """Draw memory, counts and recoveries over the run."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib.figure import Figure

    minutes = [each["t_s"] / 60 for each in samples]
    figure = Figure(figsize=(9, 6), layout="constrained")
    top, middle, bottom = figure.subplots(3, sharex=True, height_ratios=(3, 2, 2))
    for k in range(len(samples[0]["rss_mb"])):
        top.plot(minutes, _column(samples, "rss_mb", k), label=f"daemon {k}", linewidth=1)
    for name in ("descriptors", "threads", "children"):
        middle.plot(minutes, np.max([each[name] for each in samples], axis=1), label=name, linewidth=1)
    bottom.scatter(minutes, [each["healed_s"] for each in samples], s=6, color="tab:red")
    top.set_ylabel("resident, MB")
    top.set_ylim(0, 1.2 * max(max(each["rss_mb"]) for each in samples))
    middle.set_ylabel("most of a daemon")
    middle.set_ylim(bottom=0)
    bottom.set_ylabel("valid again after, s")
    bottom.set_xlabel("minutes; a fault every slot, a dot for each")
    bottom.set_ylim(bottom=0)
    top.legend(loc="lower right", ncols=4, fontsize=7)
    middle.legend(loc="lower right", ncols=3, fontsize=7)
    figure.savefig(path, dpi=90)


def _column(samples: Samples, name: str, k: int) -> NDArray[np.float64]:
    return np.array([each[name][k] for each in samples], np.float64)
