"""A folder with planted faults: each is named, nothing vanishes, and parts dealt from it share nobody."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import pytest

from engine.settings import SettingsError
from tests.train.data.own.clips import draw, own_folder, write
from train.cli import main
from train.data.own.deal import Shares, deal
from train.data.own.inspection import inspect
from train.data.parts import load_parts
from train.data.record import Clip, DataError
from train.settings import DataSettings


@pytest.fixture(scope="module")
def faulty(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = own_folder(tmp_path_factory.mktemp("own") / "clips")
    write(root / "joyful" / "p0" / "x.mp4", draw("p0", "x"))
    shutil.copy(root / "happy" / "p0" / "0.mp4", root / "anger" / "p5" / "copy.mp4")
    write(root / "happy" / "p4" / "again.avi", draw("p1", "happy1"), "mjpeg", "12")
    (root / "anger" / "p3" / "text.mp4").write_text("no video")
    whole = (root / "anger" / "p2" / "0.mp4").read_bytes()
    (root / "anger" / "p2" / "cut.mp4").write_bytes(whole[: len(whole) // 2])
    (root / "readme.txt").write_text("notes")
    return root


def test_every_planted_fault_is_named(faulty: Path) -> None:
    found = inspect(faulty)
    told = "\n".join(found.faults())
    assert "unknown class 'joyful': 1 clips (joyful/p0/x.mp4, …): map it in dataset.toml" in told
    assert "cannot be used: anger/p3/text.mp4" in told
    assert "cannot be used: anger/p2/cut.mp4" in told
    assert (
        "one clip twice: anger/p5/copy.mp4 is the same file as happy/p0/0.mp4, and the one is anger, the other" in told
    )
    assert "one clip twice: happy/p1/1.mp4 shows the same as happy/p4/again.avi" in told
    assert "1 files are no video: readme.txt" in told
    every = {p.relative_to(faulty).as_posix() for p in faulty.rglob("*") if p.is_file()}
    named = {each.clip.name for each in found.looked} | set(found.broken) | set(found.folder.unused)
    assert every == named | {"joyful/p0/x.mp4"}


def test_the_command_shows_it_and_deals_parts_that_share_nobody(
    faulty: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["inspect-data", str(faulty), "--json"]) == 1
    values = json.loads(capsys.readouterr().out)
    assert list(values["unknown"]) == ["joyful"]
    assert len(values["twins"]) == 2
    assert main(["inspect-data", str(faulty), "--out", str(tmp_path / "parts")]) == 2
    assert "joyful (1 clips)" in capsys.readouterr().err
    assert not (tmp_path / "parts").exists()
    (faulty / "dataset.toml").write_text('[classes]\njoyful = "happiness"\n')
    try:
        assert main(["inspect-data", str(faulty), "--out", str(tmp_path / "parts")]) == 1  # two clips are broken
    finally:
        (faulty / "dataset.toml").unlink()
    rows = {part: _rows(tmp_path / "parts" / f"{part}.csv") for part in ("train", "val", "test")}
    people = {part: {row["subject"] for row in listed} for part, listed in rows.items()}
    assert all(people.values())
    # Who shares a clip shares a part, so that no copy is in two.
    linked = [{"p0", "p5"}, {"p1", "p4"}]
    for part, names in people.items():
        assert all(pair <= names or not pair & names for pair in linked), (part, names)
    assert not people["train"] & people["test"]
    assert not people["train"] & people["val"]
    note = json.loads((tmp_path / "parts" / "split.json").read_text())
    assert sum(map(len, note["parts"].values())) == sum(map(len, rows.values())) == 27
    assert all(len(clip["sha256"]) == 64 for part in note["parts"].values() for clip in part.values())


def _rows(path: Path) -> list[dict[str, str]]:
    with path.open() as file:
        return list(csv.DictReader(file))


def _lists(root: Path, folder: Path, **parts: list[str]) -> Path:
    root.mkdir()
    for part, names in parts.items():
        lines = [f"{folder / name},{name.split('/')[0]},{name.split('/')[1]}" for name in names]
        (root / f"{part}.csv").write_text("\n".join(["path,label,subject", *lines]) + "\n")
    return root


def test_a_clip_in_training_and_in_the_test_part_is_refused_with_the_pair(faulty: Path, tmp_path: Path) -> None:
    lists = _lists(
        tmp_path / "lists", faulty,
        train=["happy/p0/0.mp4", "anger/p1/0.mp4", "happy/p1/1.mp4"], test=["anger/p5/copy.mp4", "happy/p4/again.avi"],
    )  # fmt: skip
    settings = DataSettings(source="clips", root=str(lists), workers=0)
    with pytest.raises(DataError, match="2 clips are in train and in test: .*p0/0.mp4 is the same file as .*copy.mp4"):
        load_parts(settings, 16, 0, want_test=False)


def test_a_person_in_two_parts_is_named_and_a_part_to_choose_on_is_used(faulty: Path, tmp_path: Path) -> None:
    lists = _lists(
        tmp_path / "lists", faulty,
        train=["happy/p0/0.mp4", "anger/p1/0.mp4"], val=["anger/p2/0.mp4", "happy/p2/1.mp4"],
        test=["happy/p1/0.mp4", "anger/p3/1.mp4"],
    )  # fmt: skip
    parts = load_parts(DataSettings(source="clips", root=str(lists), workers=0), 16, 0)
    assert parts.reports[0].problems["person is in train and in test"] == ["p1"]
    assert parts.train is not None
    assert parts.validation is not None
    assert (len(parts.train.clips), len(parts.validation.clips)) == (2, 2)


def test_a_missing_part_says_how_to_make_one(faulty: Path, tmp_path: Path) -> None:
    lists = _lists(tmp_path / "lists", faulty, train=["happy/p0/0.mp4"])
    with pytest.raises(DataError, match=r"has no test\.csv; dfer-train inspect-data FOLDER --out PARTS makes"):
        load_parts(DataSettings(source="clips", root=str(lists), workers=0), 16, 0, want_train=False)


def test_parts_need_persons_and_shares_that_leave_some() -> None:
    alone = [Clip(str(i), Path(str(i)), "fear", "ann") for i in range(9)]
    with pytest.raises(DataError, match="9 clips of 1 persons make no three parts"):
        deal(alone, Shares(), 0)
    with pytest.raises((DataError, SettingsError), match="leave no clip for training"):
        Shares(0.5, 0.5)
    scarce = [Clip(str(i), Path(str(i)), "fear", f"p{i}") for i in range(6)] + [Clip("x", Path("x"), "anger", "q")]
    outcomes = set()
    for seed in range(20):
        try:
            parts = deal(scarce, Shares(0.3, 0.3), seed)
        except DataError as error:
            outcomes.add(str(error).split(" is of")[0])
        else:
            outcomes.add(str("anger" in {clip.label for clip in parts["train"]}))
    assert outcomes <= {"True", "every clip of anger"}
