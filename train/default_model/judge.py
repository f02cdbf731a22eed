"""The protocol for choosing a default model, and its figures for any bundle; ``dfer-train probes`` prints them.

Candidates are compared on ``choose``. What was chosen is looked at once on ``confirm``, and those figures are told.
No part of FER+ at hand is quite untouched, so each says what it is in :data:`PARTS`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from calibration.apply import Calibration, load
from calibration.metrics import (
    Interval,
    bootstrap,
    coverage_at,
    ece,
    overconfidence,
    vote_share,
    vote_weighted_uar,
    war_and_uar_intervals,
)
from engine.backends import open_backend
from engine.bundle import Bundle
from stream.offline.align import CropAligner
from stream.window.crop import crop_face
from train.data.layouts.ferplus import Stills, hold_out, load_split
from train.default_model.measure import still_logits
from train.evaluation.probes import CLEAN, PROBES, Probe

PARTS = {
    "choose": "half of dev's twin clusters: candidates are compared here",
    "confirm": "dev's other half: looked at once for each choice; bundles before this protocol were chosen on it too "
    "(700 candidates), so it flatters them",
    "untrained": "1 % of train's twin clusters, of which no run has seen a face and by which nothing was chosen: few",
    "dev": "all of dev",
}
"""Where figures come from, and what is to be known of it."""
_UNTRAINED = 0.01


def read_part(folder: Path, part: str, cache: Path, count: int = 0) -> Stills:
    """Faces of one part that scores count: first of their cluster, strict plurality.

    Args:
        folder: Holds FER+'s archives and tables.
        part: One of :data:`PARTS`.
        cache: Folder of cached stills.
        count: At most so many, the same in every call; 0: all.

    Raises:
        FacesError: Where a file is missing or broken.
    """
    stills = load_split(folder, "train" if part == "untrained" else "dev", cache)
    chosen = stills.usable
    if part == "untrained":
        chosen = chosen & hold_out(stills, _UNTRAINED)
    elif part != "dev":
        chosen = chosen & ((_hashes(stills, "protocol") < 0.5) == (part == "choose"))
    stills = stills.select(chosen)
    if 0 < count < len(stills):
        stills = stills.select(np.sort(np.argsort(_hashes(stills, "some"), kind="stable")[:count]))
    return stills


def _hashes(stills: Stills, salt: str) -> NDArray[np.float64]:
    """A number in [0, 1) for the cluster of each still, the same in every run."""
    digests = {c: hashlib.sha256(f"{salt}-{c}".encode()).hexdigest()[:8] for c in set(stills.cluster.tolist())}
    return np.array([int(digests[c], 16) / 2**32 for c in stills.cluster.tolist()])


def probe_crops(bundle: Bundle, stills: Stills, probe: Probe, threads: int = 1) -> NDArray[np.uint8]:
    """Aligned crops ``(N, U, S, S, 3)`` of changed stills, their landmarks looked for in the changed picture.

    Args:
        bundle: States crop and unit.
        stills: Faces.
        probe: What is done to them.
        threads: Stills at a time.
    """
    spec = bundle.spec

    def part(rows: NDArray[np.int64]) -> list[NDArray[np.uint8]]:
        aligner, crops = CropAligner(), []
        for row in rows.tolist():
            chance = np.random.default_rng(row)
            changed = probe.change(stills.grey[row], stills.points[row], chance)
            image = np.asarray(cv2.cvtColor(changed, cv2.COLOR_GRAY2RGB), np.uint8)
            # As every still of FER+ was cut, for training and for scores; a probe alone makes them be looked for anew.
            points = stills.points[row] if probe is CLEAN else aligner.points(image).points5
            crops.append(crop_face(image, points, spec.crop))
        return crops

    with ThreadPoolExecutor(threads) as pool:
        made = list(pool.map(part, np.array_split(np.arange(len(stills)), threads)))
    return np.repeat(np.stack([crop for some in made for crop in some])[:, None], spec.unit, axis=1)


def figures(logits: NDArray[np.float32], stills: Stills, calibration: Calibration, draws: int = 2000) -> dict[str, Any]:
    """What a bundle's answers to one kind of picture are worth, JSON-ready; shares in percent, intervals of 95 %.

    Args:
        logits: ``(N, C)``.
        stills: The faces, of known plurality.
        calibration: The bundle's.
        draws: Resamples of the intervals.
    """
    probs, truth = calibration.probs(logits), stills.plurality
    votes, cast = stills.seven, stills.votes.sum(1)
    answers, confidence = probs.argmax(1), probs.max(1)
    right, shown = answers == truth, confidence >= (calibration.threshold or 0.0)
    war, uar = war_and_uar_intervals(truth, answers, len(calibration.labels), None, draws, 0, unit=100)

    def by_votes(rows: NDArray[np.int64]) -> tuple[float, float]:
        share = vote_share(votes[rows], answers[rows], cast[rows])
        return 100 * share, 100 * vote_weighted_uar(votes[rows], answers[rows])

    share, weighted = bootstrap(by_votes, len(truth), draws=draws)
    of_class = [answers[truth == c] == c for c in range(len(calibration.labels))]
    recall = [100 * float(hits.mean()) if hits.size else None for hits in of_class]
    surer = [None if np.isnan(gap) else 100 * float(gap) for gap in overconfidence(probs, truth)]
    return {
        "n": len(truth),
        "war": _triple(war),
        "uar": _triple(uar),
        "vote_share": _triple(share),
        "vote_share_attainable": 100 * vote_share(votes, votes.argmax(1), cast),
        "vote_uar": _triple(weighted),
        "vote_uar_attainable": 100 * vote_weighted_uar(votes, votes.argmax(1)),
        "shown": 100 * float(shown.mean()),
        "right_when_shown": 100 * float(right[shown].mean()) if shown.any() else None,
        "coverage_at_95": 100 * coverage_at(confidence, right),
        "ece": ece(probs, truth),
        "recall": dict(zip(calibration.labels, recall, strict=True)),
        "overconfidence": dict(zip(calibration.labels, surer, strict=True)),
    }


def judge(bundle: Bundle, stills: Stills, probes: Sequence[Probe] = PROBES, threads: int = 1) -> dict[str, Any]:
    """Figures of a bundle on clean faces and under every probe, by name; under a probe ``lost`` is WAR lost, points."""
    calibration = load(bundle.calibration(), bundle.spec.labels)
    backend = open_backend(bundle, threads=threads)
    rows: dict[str, Any] = {}
    for probe in (CLEAN, *probes):
        logits = still_logits(backend, probe_crops(bundle, stills, probe, threads), bundle.spec.window)
        rows[probe.name] = figures(logits, stills, calibration)
        rows[probe.name]["lost"] = rows[CLEAN.name]["war"][0] - rows[probe.name]["war"][0]
    backend.close()
    return rows


def in_words(clean: dict[str, Any]) -> list[str]:
    """Lines of Markdown: what :func:`figures` says of clean faces."""
    sure = ", ".join(f"{name} {value:+.0f}" for name, value in clean["overconfidence"].items() if value is not None)
    return [
        f"- n = {clean['n']}: WAR {_text(clean['war'])}, UAR {_text(clean['uar'])}, ECE {clean['ece']:.3f}",
        f"- by votes: share for the named class {_text(clean['vote_share'])} of {clean['vote_share_attainable']:.1f} "
        f"attainable, vote-weighted UAR {_text(clean['vote_uar'])} of {clean['vote_uar_attainable']:.1f}",
        f"- shown {clean['shown']:.0f} %, of those right {_percent(clean['right_when_shown'])}; "
        f"coverage at 95 % precision {clean['coverage_at_95']:.0f} %",
        f"- surer than right, points of the answers of a class: {sure}",
    ]


def table(rows: dict[str, Any]) -> list[str]:
    """Lines of a Markdown table: :func:`figures` of clean faces and under each probe."""
    labels = list(rows[CLEAN.name]["recall"])
    agreed = {probe.name: probe.lost for probe in PROBES}
    lines = [
        "| probe | WAR | lost (agreed) | UAR | votes | vote UAR | shown | right when shown | recall "
        + ", ".join(name[:3] for name in labels)
        + " |",
        "|---" * 9 + "|",
    ]
    for name, row in rows.items():
        limit = "" if agreed.get(name) is None else f" (≤ {agreed[name]:g})"
        lost = "" if name == CLEAN.name else f"{row['lost']:.1f}{limit}"
        lines.append(
            f"| {name} | {row['war'][0]:.1f} | {lost} | {row['uar'][0]:.1f} | {row['vote_share'][0]:.1f} | "
            f"{row['vote_uar'][0]:.1f} | {row['shown']:.0f} | {_percent(row['right_when_shown'])} | "
            + ", ".join(_percent(row["recall"][label]) for label in labels)
            + " |"
        )
    return lines


def _percent(value: float | None) -> str:
    return "–" if value is None else f"{value:.0f}"


def _triple(interval: Interval) -> tuple[float, float, float]:
    return interval.value, interval.low, interval.high


def _text(value: tuple[float, float, float]) -> str:
    return f"{value[0]:.1f} [{value[1]:.1f}, {value[2]:.1f}]"
