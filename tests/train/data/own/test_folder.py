"""A folder of one's own clips is read as it lies; nothing in it vanishes without a word."""

from __future__ import annotations

from pathlib import Path

import pytest

from train.data.own.folder import read_folder
from train.data.record import DataError


def lay(root: Path, *names: str) -> Path:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")
    return root


def test_class_and_person_are_folders_in_either_order(tmp_path: Path) -> None:
    lay(tmp_path, "Happy/ann/a.mp4", "anger/b.mov", "ben/sad/c.webm")
    found = [(c.name, c.label, c.group) for c in read_folder(tmp_path).known()]
    assert found == [
        ("Happy/ann/a.mp4", "happiness", "ann"),
        ("anger/b.mov", "anger", ""),
        ("ben/sad/c.webm", "sadness", "ben"),
    ]


def test_a_folder_that_names_no_class_is_refused_until_it_is_mapped(tmp_path: Path) -> None:
    lay(tmp_path, "happy/a.mp4", "joyful/b.mp4", "joyful/c.mp4", "rubbish/d.mp4", "loose.mp4", "happy/notes.txt")
    found = read_folder(tmp_path)
    assert found.unknown == {
        "joyful": ["joyful/b.mp4", "joyful/c.mp4"],
        "rubbish": ["rubbish/d.mp4"],
        ".": ["loose.mp4"],
    }
    with pytest.raises(
        DataError, match=r"joyful \(2 clips\), rubbish \(1 clips\); say in .*dataset\.toml under \[classes\]"
    ):
        found.known()
    (tmp_path / "loose.mp4").unlink()
    (tmp_path / "dataset.toml").write_text('[classes]\njoyful = "Happy"\nrubbish = ""\n')
    mapped = read_folder(tmp_path)
    assert [c.name for c in mapped.known()] == ["happy/a.mp4", "joyful/b.mp4", "joyful/c.mp4"]
    assert {c.label for c in mapped.clips} == {"happiness"}
    assert (mapped.left_out, mapped.unused) == (["rubbish/d.mp4"], ["happy/notes.txt"])


def test_a_pattern_finds_the_person_in_the_path(tmp_path: Path) -> None:
    lay(tmp_path, "fear/p07_take2.mp4", "fear/take3.mp4")
    (tmp_path / "dataset.toml").write_text("[people]\npattern = '(p\\d+)_'\n")
    assert [c.group for c in read_folder(tmp_path).clips] == ["p07", ""]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("[classes", "cannot be read"),
        ("[class]\na = 'fear'\n", r"it has \[classes\] and \[people\] pattern, and nothing else"),
        ("[people]\nname = 'x'\n", "nothing else"),
        ("[classes]\na = 'feer'\n", "unknown expression class 'feer'"),
        ("[people]\npattern = '(p'\n", "no regular expression"),
        ("[people]\npattern = 'p'\n", "has no group; put what names the person in parentheses"),
    ],
)
def test_a_dataset_file_that_cannot_be_meant_is_refused(text: str, told: str, tmp_path: Path) -> None:
    lay(tmp_path, "fear/a.mp4")
    (tmp_path / "dataset.toml").write_text(text)
    with pytest.raises(DataError, match=told):
        read_folder(tmp_path)


def test_a_folder_without_clips_and_no_folder_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no videos in class folders below .*; or give a CSV"):
        read_folder(tmp_path).known()
    with pytest.raises(DataError, match="is no folder"):
        read_folder(tmp_path / "gone")
