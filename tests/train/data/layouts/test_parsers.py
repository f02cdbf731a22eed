"""The public data sets' layouts, on generated trees with their quirks."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from engine.spec import MAFW_CLASSES, SEVEN_CLASSES
from train.data import sources
from train.data.frames import count_frames, frame_files, natural_key, read_frames
from train.data.layouts import clips, dfew, ferv39k, mafw
from train.data.record import Clip, DataError


def frames(folder: Path, count: int, size: int = 24) -> None:
    folder.mkdir(parents=True)
    for i in range(count):
        # Names without padding: order must be by number.
        cv2.imwrite(str(folder / f"{i + 1}.jpg"), np.full((size, size, 3), 10 * i, np.uint8))


def video(path: Path, count: int, fps: int = 10) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), fps, (32, 32))
    for i in range(count):
        writer.write(np.full((32, 32, 3), 8 * i, np.uint8))
    writer.release()


@pytest.fixture
def dfew_root(tmp_path: Path) -> Path:
    split = tmp_path / "EmoLabel_DataSplit" / "train(single-labeled)"
    split.mkdir(parents=True)
    rows = ["video_name,label", "1,1", "2,2", "33,3", "404,4", "5,5", "6,9", "seven", "1,1", "8,7"]
    (split / "set_3.csv").write_text("\n".join(rows) + "\n")
    base = tmp_path / "Clip" / "clip_224x224"
    for name, count in (("00001", 20), ("00002", 16), ("00033", 5), ("00005", 0), ("00008", 17)):
        frames(base / name, count)
    return tmp_path


def test_dfew_pads_ids_offsets_labels_and_names_what_is_wrong(dfew_root: Path) -> None:
    found, report = dfew.load(dfew_root, "train", 3)
    assert [(c.name, c.label) for c in found] == [
        ("00001", "happiness"), ("00002", "sadness"), ("00033", "neutral"), ("00005", "surprise"), ("00008", "fear"),
    ]  # fmt: skip
    assert report.problems == {
        "no frame folder on disk": ["00404"],
        "label 9 is not 1 to 7": ["set_3.csv:7"],
        "line is not video_name,label": ["set_3.csv:8"],
        "clip is listed twice": ["00001"],
    }
    usable = sources.check_frames(found, report, 16, SEVEN_CLASSES)
    assert [(item.clip.name, item.frames) for item in usable] == [
        ("00001", 20),
        ("00002", 16),
        ("00033", 5),
        ("00008", 17),
    ]
    assert report.short == ["00033"]
    assert report.problems["no frames on disk"] == ["00005"]
    assert report.empty_classes == ["anger", "surprise", "disgust"]
    assert "EMPTY CLASSES: anger, surprise, disgust" in report.text()
    # Every line but the header is accounted for: usable, or named with its problem.
    assert len(usable) + report.problem_count == 9


def test_dfew_refuses_wrong_roots_and_folds(dfew_root: Path) -> None:
    with pytest.raises(DataError, match="clip_224x224"):
        dfew.load(dfew_root / "Clip", "train", 1)
    with pytest.raises(DataError, match=r"set_1\.csv"):
        dfew.load(dfew_root, "train", 1)
    with pytest.raises(DataError, match="folds 1 to 5"):
        dfew.load(dfew_root, "train", 6)
    with pytest.raises(DataError, match="no such data folder"):
        sources.load("dfew", dfew_root / "nowhere", "train")
    with pytest.raises(DataError, match="unknown data source"):
        sources.load("defw", dfew_root, "train")


def test_ferv39k_reads_its_space_separated_list(tmp_path: Path) -> None:
    lists = tmp_path / "4_setups" / "All_scenes"
    lists.mkdir(parents=True)
    lines = ["Crime/Angry/0063 Angry", "Daily Life/Happy/0001 Happy", "War/Fear/0002 Fear", "War/Odd/0003 Bored", "x"]
    (lists / "test_All.csv").write_text("\n".join([*lines, "../up/0004 Sad"]))
    frames(tmp_path / "2_ClipsforFaceCrop" / "Crime" / "Angry" / "0063", 3)
    frames(tmp_path / "2_ClipsforFaceCrop" / "Daily Life" / "Happy" / "0001", 18)
    found, report = ferv39k.load(tmp_path, "test")
    assert [(c.name, c.label) for c in found] == [("Crime/Angry/0063", "anger"), ("Daily Life/Happy/0001", "happiness")]
    assert report.problems == {
        "no frame folder on disk": ["War/Fear/0002"],
        "unknown class 'Bored'": ["test_All.csv:4"],
        "line is not 'scene/Emotion/id Emotion'": ["test_All.csv:5"],
        "path leaves the data folder": ["test_All.csv:6"],
    }
    with pytest.raises(DataError, match="one split"):
        ferv39k.load(tmp_path, "test", 2)


def test_mafw_reads_both_variants_and_bytes_that_are_not_utf8(tmp_path: Path) -> None:
    plain = tmp_path / "single" / "no_caption" / "set_2"
    plain.mkdir(parents=True)
    (plain / "train.txt").write_text("00025.mp4 anger\n00026.mp4 helplessness\n00027.mp4 contempt\n")
    captioned = tmp_path / "single" / "caption" / "set_2"
    captioned.mkdir(parents=True)
    caption = "皱眉".encode("gb18030")
    broken = b"caf\xe9 \xff\xff"
    lines = [b"00025.mp4\tanger\t" + caption + b"\tfrown", b"00026.mp4\tdisappointment\t" + broken]
    (captioned / "test.txt").write_bytes(b"\n".join(lines))
    for name in ("00025", "00026"):
        frames(tmp_path / "clips_frames" / name, 17)
    found, report = mafw.load(tmp_path, "train", 2)
    assert [(c.name, c.label) for c in found] == [("00025", "anger"), ("00026", "helplessness")]
    assert report.problems == {"no frame folder on disk": ["00027"]}
    assert set(report.per_class) == set(MAFW_CLASSES)
    found, report = mafw.load(tmp_path, "test", 2)
    assert [(c.name, c.label) for c in found] == [("00025", "anger"), ("00026", "disappointment")]
    assert report.problems == {"line is not UTF-8 (read all the same)": ["test.txt:1", "test.txt:2"]}


def test_own_clips_take_videos_folders_time_ranges_and_subjects(tmp_path: Path) -> None:
    video(tmp_path / "a.mp4", 30)
    frames(tmp_path / "frames" / "b", 6)
    (tmp_path / "train.csv").write_text(
        "path,label,start_s,end_s,subject\n"
        "a.mp4,Happy,,,ann\n"
        "a.mp4,sad,1.0,2.0,ann\n"
        "frames/b,neutrality,,,bob\n"
        "missing.mp4,anger,,,bob\n"
        "a.mp4,anger,2,1,bob\n"
        "a.mp4,anger,x,,bob\n"
        "a.mp4,Happy,,,ann\n"
        "a.mp4,anger\n"
    )
    found, report = clips.load(tmp_path, "train")
    assert [(c.name, c.label, c.group) for c in found] == [
        ("a.mp4", "happiness", "ann"), ("a.mp4@1-2", "sadness", "ann"), ("frames/b", "neutral", "bob"),
    ]  # fmt: skip
    assert {kind: len(names) for kind, names in report.problems.items()} == {
        "no such file or folder": 1,
        "start_s and end_s do not satisfy 0 <= start_s < end_s": 1,
        "start_s or end_s is no number": 1,
        "clip is listed twice": 1,
        "line has not the header's 5 fields": 1,
    }
    usable = sources.check_frames(found, report, 16, tuple(report.per_class))
    assert [item.frames for item in usable] == [30, 10, 6]
    # The time range's first frame is the video's eleventh: grey level 80.
    assert abs(int(read_frames(found[1], [0])[0].mean()) - 80) < 12


def test_a_broken_and_a_truncated_video_are_named(tmp_path: Path) -> None:
    (tmp_path / "text.mp4").write_text("this is no video")
    whole = tmp_path / "whole.avi"
    writer = cv2.VideoWriter(str(whole), cv2.VideoWriter.fourcc(*"MJPG"), 10, (64, 64))
    noise = np.random.default_rng(0)
    for _ in range(40):
        writer.write(noise.integers(0, 255, (64, 64, 3), np.uint8))
    writer.release()
    (tmp_path / "cut.avi").write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    (tmp_path / "train.csv").write_text("path,label\ntext.mp4,happy\ncut.avi,sad\nwhole.avi,anger\n")
    found, report = clips.load(tmp_path)
    usable = sources.check_frames(found, report, 16, tuple(report.per_class))
    assert [item.clip.name for item in usable] == ["cut.avi", "whole.avi"]
    assert 10 < usable[0].frames < 30
    assert usable[1].frames == 40
    assert "text.mp4" in report.problems["cannot be read"][0]
    assert len(read_frames(usable[0].clip, [usable[0].frames - 1])) == 1
    assert report.empty_classes == ["happiness"]
    with pytest.raises(DataError, match=r"cut\.avi"):
        read_frames(usable[0].clip, [39])


def test_damaged_frames_and_bad_headers_are_errors_with_names(tmp_path: Path) -> None:
    folder = tmp_path / "clip"
    frames(folder, 3)
    (folder / "2.jpg").write_bytes(b"")
    clip = Clip("clip", folder, "anger")
    with pytest.raises(DataError, match=r"2\.jpg"):
        read_frames(clip, [0, 1])
    report = clips_report(tmp_path, "path,label\nclip,anger\n")
    assert "2.jpg" in report
    (tmp_path / "train.csv").write_text("file,label\nclip,anger\n")
    with pytest.raises(DataError, match="first line must name path,label"):
        clips.load(tmp_path)


def clips_report(root: Path, text: str) -> str:
    (root / "train.csv").write_text(text)
    found, report = clips.load(root)
    with pytest.raises(DataError, match="not one usable clip") as caught:
        sources.check_frames(found, report, 16, ("anger",), "all")
    return str(caught.value)


def test_frames_are_ordered_by_number_and_counted_on_the_disk(tmp_path: Path) -> None:
    frames(tmp_path / "c", 12)
    (tmp_path / "c" / "notes.txt").write_text("x")
    clip = Clip("c", tmp_path / "c", "anger")
    assert count_frames(clip) == 12
    assert [p.stem for p in frame_files(clip.path)] == [str(i) for i in range(1, 13)]
    assert natural_key(Path("2.jpg")) < natural_key(Path("10.jpg"))
    levels = [int(image.mean().round()) for image in read_frames(clip, [0, 9, 11, 9])]
    assert levels == pytest.approx([0, 90, 110, 90], abs=2)
