"""Cutting faces of raw videos: the project's demo clip in, aligned crops out; what cannot be cut is named."""

import itertools
import json
from importlib import resources
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pytest

from engine.spec import CropGeometry
from stream.faces import FaceTracker
from tests.stream.camera.video.clips import Kind, stored, write_frames
from tests.train.own_clips import SHOWN_S, film, take
from train.data import sources
from train.data.cutting import cut_clip, folder_name
from train.data.frames import iterate_frames, read_frames
from train.data.layouts import clips as own_clips
from train.data.prepare import contact_sheet, prepare
from train.data.record import Clip

GEOMETRY = CropGeometry(size_px=96)


@pytest.fixture(scope="module")
def raw(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with one second of the demo clip, a video without a face, and a text file named .mp4."""
    root = tmp_path_factory.mktemp("raw")
    with resources.as_file(resources.files("stream.demo") / "clip.mp4") as path:
        frames = []
        for seconds, image in iterate_frames(Clip("demo", path, "neutral")):
            if seconds > 1.0:
                break
            frames.append(image)
    _write(root / "face.mp4", frames)
    _write(root / "empty.mp4", [np.full((240, 320, 3), 90, np.uint8)] * 12)
    (root / "text.mp4").write_text("no video")
    (root / "train.csv").write_text("path,label,subject\nface.mp4,neutral,a\nempty.mp4,anger,b\ntext.mp4,sad,c\n")
    return root


def _write(path: Path, frames: list[np.ndarray]) -> None:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=30, options={"qscale:v": "3"})
        stream.height, stream.width = frames[0].shape[:2]
        stream.pix_fmt = "yuv420p"
        for image in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode())


def test_clips_are_cut_listed_shown_and_not_cut_twice(raw: Path, tmp_path: Path) -> None:
    found, _ = own_clips.load(raw, "train")
    unread = {"no such file or folder": ["gone.mp4 (train.csv:5)"]}
    outcomes = prepare(found, tmp_path, GEOMETRY, workers=1, problems=unread)
    assert [bool(o.folder) for o in outcomes] == [True, False, False]
    assert outcomes[0].coverage > 0.9
    failed = (tmp_path / "train-failed.csv").read_text()
    assert "empty.mp4" in failed
    assert "no face was found" in failed
    assert "text.mp4" in failed
    assert "gone.mp4 (train.csv:5),,no such file or folder" in failed
    sheet = cv2.imread(str(tmp_path / "train-contact.jpg"))
    assert sheet is not None
    assert sheet.std() > 10
    cut, report = own_clips.load(tmp_path, "train")
    usable = sources.check_frames(cut, report, 16, tuple(report.per_class), "all")
    assert [(item.clip.label, item.clip.group) for item in usable] == [("neutral", "a")]
    assert usable[0].frames == outcomes[0].cropped
    note = tmp_path / outcomes[0].folder / "crops.json"
    stamp = note.stat().st_mtime_ns
    # A second call takes what is there; a folder broken off half-way is cut anew.
    half = tmp_path / "crops" / ".cutting-left"
    half.mkdir()
    assert prepare(found, tmp_path, GEOMETRY, workers=1) == outcomes
    assert note.stat().st_mtime_ns == stamp
    assert not half.exists()


def test_crops_are_those_of_the_daemon(raw: Path, tmp_path: Path) -> None:
    from stream.window.crop import crop_face

    clip = Clip("face.mp4", raw / "face.mp4", "neutral")
    outcome = cut_clip(clip, tmp_path, GEOMETRY, quality=100)
    tracker, crops = FaceTracker(), []
    for seconds, image in iterate_frames(clip):
        for face in tracker.step(np.ascontiguousarray(image), int(seconds * 1e9)).faces:
            if face.points5 is not None:
                crops.append(crop_face(image, face.points5, GEOMETRY))
    assert len(crops) == outcome.cropped
    stored = read_frames(Clip("crops", tmp_path / outcome.folder, "neutral"), [0, len(crops) - 1])
    for ours, theirs in zip(stored, (crops[0], crops[-1]), strict=True):
        assert np.abs(ours.astype(int) - theirs.astype(int)).mean() < 2.5


@pytest.mark.parametrize("turn", [{"turn": 2}, {"turn": 1}, {"mirrored": True}], ids=str)
def test_a_clip_that_a_player_turns_is_cut_as_it_is_shown(turn: dict[str, Any], tmp_path: Path) -> None:
    """What phones write: the picture as the sensor lies, and a display matrix."""
    with resources.as_file(resources.files("stream.demo") / "clip.mp4") as path:
        shown = [image for _, image in itertools.islice(iterate_frames(Clip("demo", path, "neutral")), 8)]
    kind = Kind("libx264", "mp4", size=(640, 480), **turn)
    crops = []
    for name, how in (("plain", Kind("libx264", "mp4", size=(640, 480))), ("turned", kind)):
        clip = write_frames(tmp_path / f"{name}.mp4", how, [stored(image, how) for image in shown])
        outcome = cut_clip(Clip(name, clip, "neutral"), tmp_path, GEOMETRY, quality=100)
        assert outcome.cropped == len(shown)
        crops.append(read_frames(Clip(name, tmp_path / outcome.folder, "neutral"), range(len(shown))))
    for plain, turned in zip(*crops, strict=True):
        assert np.abs(plain.astype(int) - turned.astype(int)).mean() < 4


def test_a_clip_held_the_wrong_way_round_says_how_to_turn_it(raw: Path, tmp_path: Path) -> None:
    # A large face is found upside down too, and its crop is upright by its eyes and mouth; this one is not.
    shown = take(film(*SHOWN_S["surprise"]), "surprise", "p2", 7)
    _write(tmp_path / "phone.mp4", [np.ascontiguousarray(image[::-1, ::-1]) for image in shown])
    outcome = cut_clip(Clip("phone", tmp_path / "phone.mp4", "fear"), tmp_path / "out", GEOMETRY)
    remedy = "ffmpeg -display_rotation 180 -i phone.mp4 -c copy turned.mp4"
    assert outcome.problem == f"no face was found; turned by 180° there is one: {remedy}"


def test_different_clips_never_share_a_folder() -> None:
    names = ["a/b.mp4", "a_b.mp4", "a__b.mp4", "a b.mp4", "../a/b.mp4", "ä.mp4"]
    folders = [folder_name(Clip(n, Path(n), "anger")) for n in names]
    assert len(set(folders)) == len(names)
    assert all(".." not in f.split("/") for f in folders)
    assert contact_sheet([]) is None
    assert json.dumps(folders)


def test_a_clip_that_is_cut_short_says_so_and_is_cut_as_far_as_it_goes(raw: Path, tmp_path: Path) -> None:
    whole = (raw / "face.mp4").read_bytes()
    (tmp_path / "short.mkv").write_bytes(b"")
    with av.open(str(raw / "face.mp4")) as given, av.open(str(tmp_path / "short.mkv"), "w") as made:
        stream = made.add_stream_from_template(given.streams.video[0])
        for packet in given.demux(video=0):
            if packet.dts is not None:
                packet.stream = stream
                made.mux(packet)
    data = (tmp_path / "short.mkv").read_bytes()
    assert len(data) > len(whole) // 2
    (tmp_path / "short.mkv").write_bytes(data[: len(data) * 6 // 10])
    (outcome,) = prepare([Clip("short", tmp_path / "short.mkv", "neutral")], tmp_path / "out", GEOMETRY, workers=1)
    assert 0 < outcome.cropped <= outcome.frames < 30
    assert "missing" in outcome.problem
    assert "short," in (tmp_path / "out" / "train-failed.csv").read_text()
    assert outcome.folder in (tmp_path / "out" / "train.csv").read_text()
