"""The papers' ablation tables as data: what each row sets, and the figures printed for it.

Figures are those of the papers' text, in per cent. A row of another method is quoted and never run.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from engine.settings import SettingsError


@dataclass(frozen=True)
class Row:
    """One row of a table.

    Attributes:
        name: As the paper names it.
        options: The model's options that differ from the headline configuration.
        uar: The paper's figure, per cent, or None where it prints none.
        war: Likewise.
        encoder: Encoder of this row, or "" for the table's.
        run: False for a quoted row.
        influence: (side, k): the row is measured on the k samples of that influence, with the headline's weights.
        recall: The paper's accuracy of each of the seven classes in the project's order, per cent; empty where it
            prints none.
    """

    name: str
    options: Mapping[str, Any] = field(default_factory=dict)
    uar: float | None = None
    war: float | None = None
    encoder: str = ""
    run: bool = True
    influence: tuple[str, int] | None = None
    recall: tuple[float, ...] = ()


@dataclass(frozen=True)
class Table:
    """One table.

    Attributes:
        model: The paper's model.
        number: As printed: ``"3"``, or ``"fig3"``.
        title: What it varies.
        rows: In the paper's order.
        encoder: Encoder of its rows.
        folds: Which folds the paper's figures are over.
        dataset: Which data set.
    """

    model: str
    number: str
    title: str
    rows: tuple[Row, ...]
    encoder: str = "vit-b-32"
    folds: tuple[int, ...] = (1, 2, 3, 4, 5)
    dataset: str = "DFEW"


def _quoted(name: str, uar: float | None, war: float, *recall: float) -> Row:
    return Row(name, {}, uar, war, run=False, recall=recall)


def _newer(dataset: str) -> tuple[Row, ...]:
    """Rows of no paper here, for what is usual by now: S4D (arXiv 2409.06154), CLAIP-Emo (2509.14527; hears too)."""
    figures = {"DFEW": (66.80, 76.68, 80.14), "FERV39k": (43.40, 53.65, None), "MAFW": (43.72, 58.44, 61.18)}
    uar, war, heard = figures[dataset]
    rows = [Row("S4D (ViT-B/16), 2024, not in the paper", {}, uar, war, run=False)]
    if heard is not None:
        rows.append(Row("CLAIP-Emo (with sound), 2025, not in the paper", {}, None, heard, run=False))
    return tuple(rows)


def _depth(letter: str, fine: int, coarse: int, uar: float, war: float) -> Row:
    return Row(
        f"{letter}: fine {fine or '-'}, coarse {coarse or '-'}", {"fine_depth": fine, "coarse_depth": coarse}, uar, war
    )


def _segment(stride: int, width: int, uar: float, war: float) -> Row:
    options = {"segment_stride": stride, "segment_width": width}
    return Row(f"stride {stride or 'X'}, width {width}", options, uar, war)


def _prompt(letter: str, learned: bool, text: str, visual: str, uar: float, war: float) -> Row:
    options = {"prompt_learnable": learned, "prompt_text": text, "visual_prompt": visual}
    return Row(f"{letter}: {'[learnable] ' if learned else ''}{text}, visual {visual}", options, uar, war)


_TG = (
    Table("tg-dfer", "1", "headline, five folds of DFEW", (
        _quoted("M3DFEL", 56.10, 69.25, 89.59, 68.38, 67.88, 74.24, 59.69, 0.00, 31.63),
        _quoted("CLIPER", 57.56, 70.84),
        _quoted("DFER-CLIP", 59.61, 71.25, 91.12, 75.34, 71.15, 74.09, 56.30, 11.72, 37.81),
        Row("TG-DFER", {}, 60.17, 71.62, recall=(90.92, 74.92, 71.41, 73.36, 59.43, 13.10, 38.03)),
        *_newer("DFEW"),
    )),
    Table("tg-dfer", "2", "headline, FERV39k", (
        _quoted("M3DFEL", 35.94, 47.67), _quoted("CLIPER", 41.23, 51.34), _quoted("DFER-CLIP", 41.27, 51.65),
        Row("TG-DFER", {}, 41.50, 51.67), *_newer("FERV39k"),
    ), folds=(1,), dataset="FERV39k"),
    Table("tg-dfer", "3", "depths of the temporal network", (
        _depth("a", 0, 0, 57.66, 69.14), _depth("b", 0, 1, 59.83, 71.34), _depth("c", 0, 2, 59.45, 71.18),
        _depth("d", 1, 0, 58.50, 69.24), _depth("e", 1, 1, 60.17, 71.62), _depth("f", 1, 2, 60.58, 71.46),
        _depth("g", 2, 0, 57.73, 69.27), _depth("h", 2, 1, 60.40, 71.51), _depth("i", 2, 2, 60.27, 71.51),
        _depth("j", 1, 7, 59.10, 70.93), _depth("k", 7, 1, 59.24, 70.84), _depth("l", 7, 7, 59.29, 70.92),
    )),
    Table("tg-dfer", "4", "stride and width of segments", (
        _segment(0, 2, 59.58, 71.39), _segment(0, 4, 59.58, 71.32), _segment(0, 8, 59.50, 71.43),
        _segment(1, 2, 59.59, 71.19), _segment(1, 4, 60.17, 71.62), _segment(1, 8, 59.83, 71.51),
        _segment(2, 4, 60.09, 71.48), _segment(2, 8, 59.76, 71.51), _segment(3, 4, 59.81, 71.48),
    )),
    Table("tg-dfer", "5", "text prompts and the visual prompt", (
        _prompt("a", False, "class", "none", 59.12, 71.40), _prompt("b", False, "class", "add", 60.07, 71.58),
        _prompt("c", False, "class", "prepend", 59.58, 71.49), _prompt("d", False, "descriptors", "none", 59.12, 71.34),
        _prompt("e", False, "descriptors", "add", 60.23, 71.54),
        _prompt("f", False, "descriptors", "prepend", 59.14, 71.43),
        _prompt("g", True, "class", "none", 59.46, 71.07), _prompt("h", True, "class", "add", 60.17, 71.62),
        _prompt("i", True, "class", "prepend", 60.36, 71.47), _prompt("j", True, "descriptors", "none", 58.56, 71.17),
        _prompt("k", True, "descriptors", "add", 59.23, 71.32),
        _prompt("l", True, "descriptors", "prepend", 59.75, 71.62),
    )),
    Table("tg-dfer", "6", "the k frames of highest or lowest influence alone", tuple(
        Row(f"{side} {k}", {}, uar, war, influence=(side, k))
        for side, k, uar, war in (
            ("highest", 1, 59.97, 71.12), ("highest", 2, 60.09, 71.27), ("highest", 3, 59.74, 71.12),
            ("lowest", 1, 55.41, 67.39), ("lowest", 2, 57.18, 68.88), ("lowest", 3, 58.00, 69.63),
        )
    )),
)  # fmt: skip

_NO_HVE = {"temporal": "mean"}
_NO_ETP = {"prompt_text": "names", "cross_modal": False}
_NO_CCR = {"consistency": False}

_DK = (
    Table("dk-clip", "2", "headline, five folds of DFEW", (
        _quoted("MAE-DFER (ViT-B/16)", 63.41, 74.43, 92.92, 77.46, 74.56, 76.94, 60.99, 18.62, 42.35),
        _quoted("DFER-CLIP (ViT-B/32)", 59.61, 71.25, 91.12, 75.34, 71.15, 74.09, 56.30, 11.72, 37.81),
        Row("DK-CLIP (ViT-B/32)", {}, 60.42, 72.98, "vit-b-32",
            recall=(93.03, 74.96, 70.45, 77.28, 60.45, 7.72, 39.04)),
        Row("DK-CLIP (ViT-B/16)", {}, 64.95, 75.41, "vit-b-16",
            recall=(94.61, 76.19, 75.06, 78.65, 63.61, 23.60, 42.93)),
        *_newer("DFEW"),
    )),
    Table("dk-clip", "3-ferv39k", "headline, FERV39k", (
        _quoted("MAE-DFER (ViT-B/16)", 43.12, 52.07), _quoted("DFER-CLIP (ViT-B/32)", 41.27, 51.65),
        Row("DK-CLIP (ViT-B/32)", {}, 40.76, 51.58, "vit-b-32"),
        Row("DK-CLIP (ViT-B/16)", {}, 43.71, 52.14, "vit-b-16"),
        *_newer("FERV39k"),
    ), folds=(1,), dataset="FERV39k"),
    Table("dk-clip", "3-mafw", "headline, five folds of MAFW", (
        _quoted("MAE-DFER (ViT-B/16)", 41.62, 54.31), _quoted("DFER-CLIP (ViT-B/32)", 39.89, 52.55),
        Row("DK-CLIP (ViT-B/32)", {}, 41.17, 54.93, "vit-b-32"),
        Row("DK-CLIP (ViT-B/16)", {}, 43.01, 56.56, "vit-b-16"),
        *_newer("MAFW"),
    ), dataset="MAFW"),
    Table("dk-clip", "4", "architecture: HVE, ETP, CCR", (
        Row("none", {**_NO_HVE, **_NO_ETP, **_NO_CCR}, 59.38, 71.92),
        Row("HVE", {**_NO_ETP, **_NO_CCR}, 61.43, 74.83),
        Row("ETP", {**_NO_HVE, **_NO_CCR}, 61.49, 73.63),
        Row("HVE + ETP", _NO_CCR, 63.47, 75.09),
        Row("HVE + ETP + CCR", {}, 64.21, 75.86),
    ), "vit-b-16", (3,)),
    Table("dk-clip", "5", "temporal modelling", (
        Row("a: average", {**_NO_HVE, **_NO_CCR}, 61.49, 73.63),
        Row("b: one transformer layer", {"temporal": "transformer", **_NO_CCR}, 61.67, 74.49),
        Row("c: cross-frame attention", {"temporal": "cfam", **_NO_CCR}, 63.47, 75.09),
        Row("d: hierarchical", {}, 64.21, 75.86),
    ), "vit-b-16", (3,)),
    Table("dk-clip", "6", "textual prompts", (
        Row("a: class names", {"prompt_text": "names", "cross_modal": False}, 62.46, 74.49),
        Row("b: four contexts + name", {"prompt_text": "names", "contexts": 4, "cross_modal": False}, 64.50, 75.17),
        Row("c: four contexts + descriptors", {"prompt_text": "descriptors", "contexts": 4, "cross_modal": False},
            62.67, 75.34),
        Row("d: all relevant action units", {"prompt_text": "aus-and"}, 63.98, 75.56),
        Row("e: activated action units", {"prompt_text": "aus-or"}, 64.21, 75.86),
    ), "vit-b-16", (3,)),
    Table("dk-clip", "fig3", "number of snippets N and threshold theta (the paper plots, it prints no figures)", (
        *(Row(f"N {n}", {"snippets": n}) for n in (1, 2, 4, 8, 16)),
        *(Row(f"theta {t:.2f}", {"threshold": t}) for t in (0.0, 0.05, 0.10, 0.15, 0.20, 0.25)),
    ), "vit-b-16", (3,)),
)  # fmt: skip

_PLAIN = {"interfit": False, "msta": False}
_BASELINE = {**_PLAIN, "blocks": 0}

_CG = (
    Table("clip-guided", "1", "headline, five folds of DFEW", (
        _quoted("CLIPER", 57.56, 70.84), _quoted("DFER-CLIP", 59.61, 71.25), _quoted("LSTPNet", 60.18, 71.16),
        Row("baseline", _BASELINE, 58.28, 69.96), Row("CLIP-Guided", {}, 60.85, 72.58), *_newer("DFEW"),
    )),
    Table("clip-guided", "1-ferv39k", "headline, FERV39k", (
        _quoted("CLIPER", 41.23, 51.34), _quoted("DFER-CLIP", 41.27, 51.65), _quoted("LSTPNet", 40.63, 50.07),
        Row("baseline", _BASELINE, 39.52, 49.80), Row("CLIP-Guided", {}, 41.43, 51.83), *_newer("FERV39k"),
    ), folds=(1,), dataset="FERV39k"),
    Table("clip-guided", "1-mafw", "headline, five folds of MAFW", (
        _quoted("T-MEP", 39.37, 52.85), _quoted("DFER-CLIP", 39.89, 52.55),
        Row("baseline", _BASELINE, 39.13, 52.31), Row("CLIP-Guided", {}, 41.06, 54.38), *_newer("MAFW"),
    ), dataset="MAFW"),
    Table("clip-guided", "2", "modules", (
        Row("baseline", _BASELINE, 58.28, 69.96),
        Row("InterFIT", {"msta": False, "blocks": 0}, 59.05, 71.54),
        Row("InterFIT + MSTA", {"blocks": 0}, 59.77, 71.88),
        Row("InterFIT + MSTA + BiEhPro", {}, 60.85, 72.58),
    )),
    Table("clip-guided", "3", "text", (
        Row("w/o text", {"text": False, "blocks": 0}, 60.41, 72.05), Row("w/ text", {}, 60.85, 72.58),
    )),
    Table("clip-guided", "4", "number of BiEhPro blocks M", tuple(
        Row(f"M {m}", {"blocks": m}, uar, war)
        for m, uar, war in ((1, 60.22, 72.45), (2, 60.85, 72.58), (3, 59.44, 72.38), (4, 59.92, 72.28),
                           (5, 59.59, 72.21))
    )),
    Table("clip-guided", "5", "prompting", (
        _quoted("zero-shot CLIP", 23.34, 20.07), _quoted("CoOp", 44.98, 56.68), _quoted("CoCoOp", 46.80, 57.52),
        _quoted("DFER-CLIP w/o TM", 57.39, 69.00), _quoted("DFER-CLIP w/ TM", 59.61, 71.25),
        Row("TP, w/o InterFIT, MSTA, VP", {**_PLAIN, "visual_prompt": False}, 58.90, 71.12),
        Row("TP+VP, w/o InterFIT, MSTA", _PLAIN, 59.31, 71.64),
        Row("TP+VP", {}, 60.85, 72.58),
    )),
)  # fmt: skip

TABLES: tuple[Table, ...] = (*_TG, *_DK, *_CG)


def find_table(model: str, number: str) -> Table:
    """A paper's table by number.

    Raises:
        SettingsError: If there is none; the message lists those there are.
    """
    own = [table for table in TABLES if table.model == model]
    for table in own:
        if table.number == number.lower().removeprefix("table").strip():
            return table
    if not own:
        raise SettingsError(f"unknown model {model!r}")
    raise SettingsError(f"no table {number!r} of {model}: {', '.join(table.number for table in own)}")
