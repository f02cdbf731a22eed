"""The table of equations names every equation once, and functions that exist."""

from __future__ import annotations

import ast
import dataclasses
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
TABLE = (ROOT / "train/models/EQUATIONS.md").read_text("utf-8")
LAST = {"TG-DFER": 12, "DK-CLIP": 11, "CLIP-Guided": 12}
"""Number of each paper's last equation."""


def rows(model: str) -> list[tuple[str, str]]:
    section = TABLE.split(f"## {model}")[1].split("\n## ")[0]
    return re.findall(r"^\| (\d+) \|[^|]*\| `([^`]+)` \|", section, re.MULTILINE)


def defined(file: str) -> set[str]:
    names = set()
    for node in ast.parse((ROOT / file).read_text("utf-8")).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            names.add(node.name)
        if isinstance(node, ast.ClassDef):
            names |= {f"{node.name}.{each.name}" for each in node.body if isinstance(each, ast.FunctionDef)}
    return names


@pytest.mark.parametrize("model", LAST)
def test_every_equation_stands_once_beside_a_function_that_exists(model: str) -> None:
    listed = rows(model)
    assert [int(number) for number, _ in listed] == list(range(1, LAST[model] + 1))
    for number, place in listed:
        file, name = place.split(":")
        assert name in defined(file), f"{model} eq. {number}: {place}"


def test_what_the_table_names_as_an_option_is_one() -> None:
    from train.models.options import OPTIONS
    from train.settings import ObjectiveSettings

    known = {field.name for kind in (*OPTIONS.values(), ObjectiveSettings) for field in dataclasses.fields(kind)}
    named = set(re.findall(r"`(\w+)(?:=[\w.]+)?`", TABLE)) - {"overlap_matrix"}
    assert named <= known
    assert {"outer_residual", "visual_softmax", "local_fusion", "pad_second", "kl_direction"} <= named
