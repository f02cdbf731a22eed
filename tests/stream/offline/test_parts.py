"""Planning, journal and formats of ``dfer-stream score``, each by itself."""

from __future__ import annotations

import json
import sys
import zipfile
from pathlib import Path
from tempfile import TemporaryDirectory

import cv2
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stream.cli import main
from stream.offline import ScoreError
from stream.offline.archive import escapes
from stream.offline.images import ImageFile, read_images
from stream.offline.inputs import FACES_PER_ITEM, Item, Problem, plan
from stream.offline.journal import Journal, unfinished, work_folder
from stream.offline.rows import columns
from stream.offline.table import check_format, finish
from tests.stream.camera.video.clips import Kind, picture, write_clip

LABELS = ("happiness", "neutral")


def touch(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"x")
    return path


def test_a_folder_becomes_videos_frames_and_stills_each_once_in_natural_order(tmp_path: Path) -> None:
    for name in (
        "v/10.mp4",
        "v/2.mov",
        "v/.hidden.mp4",
        "v/readme.md",
        "v/deep/3.GIF",
        "v/shots/1.png",
        "v/shots/2.png",
    ):
        touch(tmp_path / name)
    for name in ("mixed/a.mp4", "mixed/b.jpg"):
        touch(tmp_path / name)
    made = plan([str(tmp_path / "v"), str(tmp_path / "v" / "2.mov"), str(tmp_path / "mixed")], faces=False)
    found = [(item.kind, Path(item.path or item.names[0]).relative_to(tmp_path).as_posix()) for item in made.items]
    assert found == [
        ("video", "v/2.mov"),
        ("video", "v/10.mp4"),
        ("video", "v/deep/3.GIF"),
        ("video", "v/shots"),
        ("stills", "mixed/b.jpg"),
        ("video", "mixed/a.mp4"),
    ]
    assert not made.problems
    assert [(Path(one.path).name, one.reason) for one in made.left_out] == [
        (".hidden.mp4", "is hidden"),
        ("readme.md", "is no video, image or zip"),
        ("2.mov", "was named before: scored once"),
    ]
    # As crops, the same folder holds two images and no video.
    crops = plan([str(tmp_path / "v")], faces=True)
    assert [item.kind for item in crops.items] == ["faces"]
    assert len(crops.items[0].names) == 2
    assert plan([str(tmp_path / "v" / "2.mov")], faces=True).problems


def test_a_file_that_another_name_leads_to_is_named_with_the_one_that_is_scored(tmp_path: Path) -> None:
    first = touch(tmp_path / "a" / "1.mp4")
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "2.mp4").symlink_to(first)
    touch(tmp_path / "b" / "3.mp4")
    made = plan([str(tmp_path / "a"), str(tmp_path / "b")], faces=False)
    assert [item.path for item in made.items] == [str(first), str(tmp_path / "b" / "3.mp4")]
    assert made.left_out == [Problem(str(tmp_path / "b" / "2.mp4"), f"is the same file as {first}: scored once")]


def test_a_large_zip_is_several_items_and_a_changed_file_another_stamp(tmp_path: Path) -> None:
    path = tmp_path / "faces.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for number in range(FACES_PER_ITEM + 3):
            archive.writestr(f"{number}.png", b"data")
    first = plan([str(path)], faces=True)
    assert [len(item.names) for item in first.items] == [FACES_PER_ITEM, 3]
    assert len({item.key for item in first.items}) == 2
    assert next(iter(read_images(first.items[1]))) == ImageFile(
        f"{path}/{FACES_PER_ITEM}.png", f"{FACES_PER_ITEM}.png", b"data"
    )
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("more.png", b"data")
    again = plan([str(path)], faces=True)
    assert again.items[0].key == first.items[0].key
    assert again.items[0].stamp != first.items[0].stamp


@pytest.mark.parametrize("name", ["../a.png", "/a.png", "a/../../b.png", "..\\a.png", "C:\\a.png", "\\\\host\\a.png"])
def test_names_that_point_out_of_an_archive_are_told(name: str) -> None:
    assert escapes(name)
    assert not escapes("a/b..png")
    assert not escapes("a/..b/c.png")


def item(name: str, stamp: str = "1") -> Item:
    return Item("video", name, name, (), stamp)


def rows_for(name: str) -> bytes:
    return b"".join(json.dumps({"path": name, "frame_id": k}).encode() + b"\n" for k in range(len(name)))


def work(out: Path, items: list[Item], most: int | None = None) -> None:
    """Score what is left, at most so many items."""
    journal = Journal(out, "same", items)
    left = [each for each in items if each.key not in journal.done]
    for each in left[:most]:
        part = journal.folder / "part-1.jsonl"
        part.write_bytes(rows_for(each.key))
        journal.commit(each, part, len(each.key), (), 1.0)
    journal.close()


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 4), st.floats(0, 1), st.floats(0, 1), st.booleans())
def test_however_a_run_is_cut_off_the_rows_come_out_once_each(
    done: int, rows_kept: float, journal_kept: float, both: bool
) -> None:
    items = [item(name) for name in ("one", "a", "three", "")] + [item("fifth")]
    with TemporaryDirectory() as folder:
        out = Path(folder) / "rows.jsonl"
        work(out, items, done)
        for name, share in (("rows.jsonl", rows_kept), ("journal.jsonl", journal_kept))[: 2 if both else 1]:
            path = work_folder(out) / name
            data = path.read_bytes()
            path.write_bytes(data[: round(len(data) * share)])
        work(out, items)
        assert (work_folder(out) / "rows.jsonl").read_bytes() == b"".join(rows_for(each.key) for each in items)


def test_a_journal_refuses_other_files_other_settings_and_a_second_writer(tmp_path: Path) -> None:
    out = tmp_path / "rows.jsonl"
    items = [item("a"), item("b")]
    work(out, items, 1)
    assert unfinished(out)
    with pytest.raises(ScoreError, match="a changed"):
        Journal(out, "same", [item("a", "2"), item("b")])
    with pytest.raises(ScoreError, match="other settings"):
        Journal(out, "other", items)
    first = Journal(out, "same", items)
    with pytest.raises(ScoreError, match="another run"):
        Journal(out, "same", items)
    first.close()
    anew = Journal(out, "other", items, overwrite=True)
    assert not anew.done
    assert anew.rows.read_bytes() == b""
    anew.complete()
    assert not work_folder(out).exists()


def sample_rows(path: Path) -> Path:
    video = {
        "path": "v.mp4", "t_s": 0.04, "frame_id": 1, "face": "f1", "box": [1.0, 2.0, 3.0, 4.0], "state": "tracked",
        "ready": True, "probs": {"happiness": 0.25, "neutral": 0.75}, "now": None, "label": "neutral",
        "relevance": [0.5, 0.5],
    }  # fmt: skip
    still = {"path": "a, b.png", "probs": {"happiness": 1.0, "neutral": 0.0}, "label": "happiness", "abstained": True}
    path.write_text(json.dumps(video) + "\n" + json.dumps(still) + "\n")
    return path


def test_parquet_has_one_typed_column_for_each_class(tmp_path: Path) -> None:
    pq = pytest.importorskip("pyarrow.parquet", reason="pip install 'dferstream[parquet]'")
    finish(sample_rows(tmp_path / "rows"), tmp_path / "o.parquet", "parquet", LABELS)
    assert not (tmp_path / "rows").exists()
    table = pq.read_table(tmp_path / "o.parquet")
    assert table.column_names == columns(LABELS)
    assert table["probs_neutral"].to_pylist() == [0.75, 0.0]
    assert table["now_neutral"].to_pylist() == [None, None]
    assert table["relevance"].to_pylist() == [[0.5, 0.5], None]
    assert table["frame_id"].to_pylist() == [1, None]
    assert table["box_w"].to_pylist() == [3.0, None]
    assert table["abstained"].to_pylist() == [None, True]
    assert table["path"].to_pylist() == ["v.mp4", "a, b.png"]


def test_parquet_without_pyarrow_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    with pytest.raises(ScoreError, match=r"dferstream\[parquet\]"):
        check_format("parquet")


def test_what_cannot_begin_is_refused_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    clip = str(touch(tmp_path / "a.mp4"))
    for flags, word in (
        (["--out", "absent/rows.jsonl"], "absent"),
        (["--out", str(tmp_path)], "folder"),
        (["--out", "-", "--format", "csv"], "jsonl"),
        (["--out", "-", "--resume"], "--out FILE"),
        (["--bundle", "absent"], "absent"),
    ):
        assert main(["score", clip, *flags]) == 2
        said = capsys.readouterr()
        assert said.out == ""
        assert len(said.err.splitlines()) == 1
        assert word in said.err
    assert main(["score", "absent.mp4"]) == 1
    assert capsys.readouterr().err == "dfer-stream score: absent.mp4: does not exist: check the path\n"
    assert not (tmp_path / "scores.jsonl").exists()
    assert plan(["absent.mp4"], faces=False).problems == [Problem("absent.mp4", "does not exist: check the path")]


def test_of_thirty_kinds_of_files_each_is_used_or_named(tmp_path: Path) -> None:
    still = cv2.imencode(".jpg", picture(1)[..., ::-1])[1].tobytes()
    made = dict.fromkeys(("a.jpg", "b.heic", "no_suffix_image", "c.png"), still)
    kinds = {
        "d.mp4": "mp4", "e.m2ts": "mpegts", "f.mxf": "mxf", "g.qt": "mov", "h": "matroska", "i.dat": "avi",
        "j.vid": "flv",
    }  # fmt: skip
    for name, container in kinds.items():
        codec = "mpeg2video" if container == "mxf" else "libx264"
        made[name] = write_clip(tmp_path / "clip", Kind(codec, container)).read_bytes()
    (tmp_path / "clip").unlink()
    made["k.gif"] = write_clip(tmp_path / "clip", Kind("gif", "gif", "rgb8")).read_bytes()
    (tmp_path / "clip").unlink()
    used = {*made, "broken.mp4", "faces.zip"}
    made["broken.mp4"] = b"text that names itself a video"
    with zipfile.ZipFile(tmp_path / "faces.zip", "w") as archive:
        archive.writestr("1.png", still)
        archive.writestr("labels.csv", "a,b")
    text = (
        "notes.txt",
        "rows.csv",
        "sub.srt",
        "meta.json",
        "readme.md",
        "page.html",
        "code.py",
        "list.m3u8",
        "no_suffix",
    )
    unused = dict.fromkeys(text, b"words\n" * 30)
    unused |= {"paper.pdf": b"%PDF-1.7\n", "empty.bin": b"", ".hidden.mp4": made["d.mp4"], "song.mp3": b"ID3\4\0" * 9}
    unused |= {"voice.wav": b"RIFF\xff\0\0\0WAVEfmt ", "sheet.xlsx": (tmp_path / "faces.zip").read_bytes()}
    for name, data in {**made, **unused}.items():
        (tmp_path / name).write_bytes(data)
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    planned = plan([str(tmp_path)], faces=False)
    assert len(list(tmp_path.iterdir())) >= 30
    names = {Path(name).name for item in planned.items for name in (item.names or (item.path,))}
    assert names == (used - {"faces.zip"}) | {"1.png"}
    assert {Path(one.path).name for one in planned.left_out} == {*unused, "link", "faces.zip"}
    assert all(one.reason and "\n" not in one.reason for one in planned.left_out)
    assert planned.problems == []
    # Nothing in it was named itself, so none of it can fail the run.
    assert {item.root for item in planned.items} == {str(tmp_path)}
