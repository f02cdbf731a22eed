from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from engine.errors import DferError
from stream.camera.recording import Recording
from stream.show.overlay import OverlayError, annotate
from stream.show.overlay.annotate import annotate_file, annotated, read_messages, write_video
from tests.scenes import picture
from tests.scenes.picture import contact_sheet
from tests.stream.show.overlay.messages import face_body, faces_body

CLIP = Path(__file__).parents[4] / "stream" / "demo" / "clip.mp4"
LABELS = ("happiness", "anger", "disgust", "sadness")


def frames(count: int) -> list[NDArray[np.uint8]]:
    return [np.full((240, 320, 3), 100 + k, np.uint8) for k in range(count)]


def images_of(path: Path) -> list[NDArray[np.uint8]]:
    with Recording(str(path)) as recording:
        return [frame.image for frame in recording]


def record(path: Path, count: int) -> Path:
    rows = [faces_body([face_body(label=LABELS[k % 4], box=(60, 60, 80, 90))], k) for k in range(count)]
    other = {"schema": "dfer.status/1.0", "source": "cam0"}
    path.write_text("\n".join(json.dumps(row) for row in [other, *rows]) + "\n\n")
    return path


def test_each_frame_gets_its_own_message_and_dropped_ones_the_one_before() -> None:
    messages = [
        faces_body([face_body(label=label, box=(60, 60, 80, 90))], k) for k, label in ((1, "anger"), (3, "fear"))
    ]
    messages.append(faces_body([], 5, valid=False, reason="ended"))
    drawn = list(annotated(frames(6), messages))
    assert np.array_equal(drawn[0], frames(1)[0])
    shade = [int(np.median(image)) for image in drawn]
    assert shade == [100 + k for k in range(6)]
    # The bracket's corner wears the label's colour.
    corners = [tuple(int(c) for c in image[60, 60]) for image in drawn]
    assert corners[1] == corners[2] != corners[3]
    assert corners[3] == corners[4] == corners[5]


def test_annotated_file_has_every_frame_and_replaces_nothing_on_failure(tmp_path: Path) -> None:
    source = tmp_path / "in.mp4"
    assert write_video(frames(12), source, 25.0) == 12
    out = tmp_path / "out.mp4"
    assert annotate_file(source, record(tmp_path / "run.jsonl", 12), out) == 12
    before, after = images_of(source), images_of(out)
    assert len(after) == 12
    assert all(np.abs(a.astype(int) - b).max() > 60 for a, b in zip(before, after, strict=True))
    with pytest.raises(OverlayError, match="no frame"):
        write_video([], out, 25.0)
    with pytest.raises(OverlayError, match="mp4"):
        write_video(frames(1), tmp_path / "out.avi", 25.0)
    assert len(images_of(out)) == 12
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.mp4", "out.mp4", "run.jsonl"]


def test_files_that_are_none_are_refused_by_name(tmp_path: Path) -> None:
    bad = tmp_path / "run.jsonl"
    bad.write_text('{"schema": "dfer.faces/1.1"}\n{"schema":\n')
    with pytest.raises(OverlayError, match=r"run\.jsonl:2"):
        read_messages(bad)
    bad.write_text('{"schema": "dfer.status/1.0"}\n')
    with pytest.raises(OverlayError, match="no faces message"):
        read_messages(bad)
    with pytest.raises(OverlayError, match="absent"):
        read_messages(tmp_path / "absent.jsonl")
    with pytest.raises(DferError, match=r"absent\.mp4 does not exist"):
        annotate_file(tmp_path / "absent.mp4", record(tmp_path / "good.jsonl", 1), tmp_path / "out.mp4")


def test_commands_end_with_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    run = record(tmp_path / "run.jsonl", 3)
    for module in (annotate, picture):
        monkeypatch.setattr("sys.argv", ["x", str(tmp_path / "absent.mp4"), str(run), str(tmp_path / "o.mp4")])
        assert module.main() == 2
        said = capsys.readouterr().err.strip().splitlines()
        assert len(said) >= 1
        assert "Traceback" not in "".join(said)


def test_picture_for_a_page_is_made_from_the_demo_clip(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = record(tmp_path / "run.jsonl", 360)
    out = tmp_path / "page.png"
    monkeypatch.setattr("sys.argv", ["x", str(CLIP), str(run), str(out), "--at", "1", "3", "--width", "800"])
    assert picture.main() == 0
    made = cv2.imread(str(out))
    assert made is not None
    assert made.shape[1] == 800
    assert made.shape[0] > 300 + 100
    assert made.std() > 30


def test_moment_outside_the_video_is_refused() -> None:
    with pytest.raises(OverlayError, match=r"outside the video: \[9\.0\]"):
        contact_sheet(frames(5), [faces_body([])], 30.0, [0.1, 9.0])
