"""Which truth belongs to which row, where files share a name."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from calibration.data import Heldout, TruthTable, read
from calibration.settings import CalibrationError
from engine.spec import SEVEN_CLASSES


def joined(folder: Path, paths: list[str], truths: dict[str, str]) -> Heldout:
    """Rows whose logits say which of `paths` they are, joined with a CSV."""
    lines = [{"path": path, "logits": np.eye(7)[row].tolist()} for row, path in enumerate(paths)]
    (folder / "rows.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    (folder / "truth.csv").write_text("name,truth\n" + "".join(f"{k},{v}\n" for k, v in truths.items()))
    return read(folder / "rows.jsonl", SEVEN_CLASSES, TruthTable(folder / "truth.csv"))


def names(rows: Heldout) -> dict[int, str]:
    """Truth by row."""
    return {int(row.argmax()): SEVEN_CLASSES[label] for row, label in zip(rows.logits, rows.labels, strict=True)}


@pytest.mark.parametrize("above", ["", "clips/", "/data/own/clips/"])
def test_class_folders_with_equal_file_names_teach_each_their_own_class(tmp_path: Path, above: str) -> None:
    truths = {f"{name}/{n}.mp4": name for n in (1, 2) for name in ("happiness", "fear")}
    rows = joined(tmp_path, [f"{above}{path}" for path in truths], truths)
    assert names(rows) == dict(enumerate(truths.values()))
    assert len(set(rows.groups.tolist())) == 4


def test_the_csv_may_say_more_of_the_path_than_the_rows(tmp_path: Path) -> None:
    truths = {"/data/a/1.mp4": "fear", "/data/b/1.mp4": "anger", "/data/c/2.mp4": "sadness"}
    assert names(joined(tmp_path, ["b/1.mp4", "a/1.mp4", "2.mp4"], truths)) == {0: "anger", 1: "fear", 2: "sadness"}


def test_the_longest_agreement_is_meant(tmp_path: Path) -> None:
    rows = joined(tmp_path, ["b/a/1.mp4", "a/1.mp4", "c/b/a/1.mp4"], {"a/1.mp4": "fear", "b/a/1.mp4": "anger"})
    assert names(rows) == {0: "anger", 1: "fear", 2: "anger"}


def test_a_name_that_is_one_files_needs_no_folder(tmp_path: Path) -> None:
    # Two windows of one file are no second file.
    paths = ["dev.zip/a.webp", "dev.zip/a.webp", "other/b.webp"]
    assert names(joined(tmp_path, paths, {"a.webp": "fear", "train/b.webp": "anger"})) == {
        0: "fear",
        1: "fear",
        2: "anger",
    }


def test_a_file_whose_namesake_alone_is_known_has_no_truth(tmp_path: Path) -> None:
    rows = joined(tmp_path, ["happiness/1.mp4", "fear/1.mp4"], {"happiness/1.mp4": "happiness"})
    assert names(rows) == {0: "happiness"}
    assert rows.skipped == {"no truth": 1}


@pytest.mark.parametrize(
    ("paths", "truths"),
    [
        (["happiness/1.mp4", "fear/1.mp4"], {"1.mp4": "happiness"}),
        (["1.mp4"], {"happiness/1.mp4": "happiness", "fear/1.mp4": "fear"}),
        (["b/1.mp4"], {"x/b/1.mp4": "happiness", "y/z/b/1.mp4": "fear"}),
    ],
)
def test_a_name_that_may_be_several_files_is_refused(tmp_path: Path, paths: list[str], truths: dict[str, str]) -> None:
    with pytest.raises(CalibrationError, match=r"rows.jsonl:1: more than one file is named 1.mp4 .*; write paths like"):
        joined(tmp_path, paths, truths)


def test_a_csv_that_contradicts_itself_is_refused(tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_text("")
    for second, remedy in (("a.mp4,anger", r"truth.csv:3 says of a.mp4 .*; keep one"), ("a.mp4,fear", "it is empty")):
        (tmp_path / "truth.csv").write_text(f"name,truth\na.mp4,fear\n{second}\n")
        with pytest.raises(CalibrationError, match=remedy):
            read(tmp_path / "rows.jsonl", SEVEN_CLASSES, TruthTable(tmp_path / "truth.csv"))
    (tmp_path / "truth.csv").write_text(f"name,{','.join(SEVEN_CLASSES)}\na.mp4,many{',0' * 6}\n")
    with pytest.raises(CalibrationError, match=r"truth.csv:2: votes must be numbers"):
        read(tmp_path / "rows.jsonl", SEVEN_CLASSES, TruthTable(tmp_path / "truth.csv"))


def test_a_list_of_ones_own_clips_is_truth(tmp_path: Path) -> None:
    """`inspect-data` writes path, label and subject."""
    paths = ["clips/happy/p1/0.mp4", "clips/sad/p1/0.mp4", "clips/sad/p2/9.mp4"]
    joined(tmp_path, paths, dict.fromkeys(paths, "fear"))
    listed = "path,label,subject\n/data/clips/happy/p1/0.mp4,happy,p1\n/data/clips/sad/p1/0.mp4,sadness,p1\n"
    (tmp_path / "val.csv").write_text(listed)
    rows = read(tmp_path / "rows.jsonl", SEVEN_CLASSES, TruthTable(tmp_path / "val.csv"))
    assert names(rows) == {0: "happiness", 1: "sadness"}
    assert rows.skipped == {"no truth": 1}
