"""``dfer-stream score`` as a user starts it: real clips, a real model, real workers."""

from __future__ import annotations

import contextlib
import csv
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import psutil
import pytest
from numpy.typing import NDArray

from engine.backends import open_backend
from stream.camera.paths import demo_clip_path
from stream.cli import main
from stream.offline.journal import work_folder
from stream.offline.pool.workers import ATTEMPTS
from tests.stream.camera.video.clips import Kind, write_frames
from tests.waiting import wait_for

ROOT = Path(__file__).resolve().parents[3]
SAME = ("probs", "box", "state", "smoothed", "now", "label", "confidence", "relevance", "ready", "scored_frame_id")


def command(name: str, *flags: str | Path) -> list[str]:
    return [sys.executable, "-m", "stream.cli", name, *map(str, flags)]


@dataclass(frozen=True)
class Finished:
    returncode: int
    stdout: str
    stderr: str


def score(*flags: str | Path, cwd: Path) -> Finished:
    """The command in this process, which has loaded what it needs; its workers are processes all the same."""
    out, err = (io.TextIOWrapper(io.BytesIO(), "utf-8") for _ in range(2))
    here = Path.cwd()
    os.chdir(cwd)
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            code = main(["score", *map(str, flags)])
    finally:
        os.chdir(here)
    texts = []
    for stream in (out, err):
        stream.seek(0)
        texts.append(stream.read())
    return Finished(code, *texts)


def start(*flags: str | Path, cwd: Path) -> subprocess.Popen[str]:
    """The command as a user starts it."""
    return subprocess.Popen(
        command("score", *flags),
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def rows_of(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def write_clip(path: Path, start: int, count: int) -> Path:
    source = cv2.VideoCapture(str(demo_clip_path()))
    source.set(cv2.CAP_PROP_POS_FRAMES, start)
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 15, (640, 480))
    for _ in range(count):
        writer.write(source.read()[1])
    writer.release()
    source.release()
    return path


def demo_frame(number: int) -> NDArray[np.uint8]:
    source = cv2.VideoCapture(str(demo_clip_path()))
    source.set(cv2.CAP_PROP_POS_FRAMES, number)
    image = source.read()[1]
    source.release()
    return np.asarray(image, np.uint8)


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of three short clips with one face each, and a file that is none of ours."""
    folder = tmp_path_factory.mktemp("clips")
    write_clip(folder / "a2.avi", 0, 40)
    write_clip(folder / "a10.avi", 60, 20)
    (folder / "below").mkdir()
    write_clip(folder / "below" / "c.avi", 90, 12)
    (folder / "notes.txt").write_text("not a video\n")
    return folder


@pytest.fixture(scope="module")
def scored(clips: Path, small_bundle: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Rows of all clips, scored without interruption."""
    out = tmp_path_factory.mktemp("out") / "rows.jsonl"
    done = score(clips, "--bundle", small_bundle("frames"), "--threads", "1", "--out", out, cwd=out.parent)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert "3.5" in done.stdout or "real time" in done.stdout
    assert done.stdout.splitlines()[1:] == [
        "not used, or not whole: 1",
        f"  {clips / 'notes.txt'}: is no video, image or zip",
    ]
    assert not work_folder(out).exists()
    return out


def test_rows_equal_what_the_daemon_publishes_of_every_frame(
    clips: Path, scored: Path, small_bundle: Callable[[str], Path], tmp_path: Path
) -> None:
    rows = rows_of(scored)
    assert list(dict.fromkeys(row["path"] for row in rows)) == [
        str(clips / "a2.avi"),
        str(clips / "a10.avi"),
        str(clips / "below" / "c.avi"),
    ]
    # The second clip too: nothing of the first may be left in tracker, windows or ids.
    runs: dict[str, subprocess.Popen[str]] = {}
    for name in ("a2.avi", "a10.avi"):
        flags = ("--source", clips / name, "--every-frame", "--json", "--bundle", small_bundle("frames"))
        more = ("--threads", "1", "--bind", f"ipc://{tmp_path}/{name}.ipc")
        runs[name] = subprocess.Popen(
            command("run", *flags, *more), cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
    for name, run in runs.items():
        printed, err = run.communicate(timeout=240)
        assert run.returncode == 0, err
        messages = [json.loads(line) for line in printed.splitlines()]
        published = [(m["frame_id"], face["id"], *(face[key] for key in SAME)) for m in messages for face in m["faces"]]
        mine = [row for row in rows if row["path"] == str(clips / name)]
        assert [(row["frame_id"], row["face"], *(row[key] for key in SAME)) for row in mine] == published
        start_ns = messages[0]["t_capture_ns"]
        at = {m["frame_id"]: (m["t_capture_ns"] - start_ns) / 1e9 for m in messages}
        assert [row["t_s"] for row in mine] == pytest.approx([at[row["frame_id"]] for row in mine], abs=2e-6)
    assert any(row["ready"] for row in rows)


def test_killed_at_any_moment_it_goes_on_without_a_lost_or_doubled_row(
    clips: Path, scored: Path, small_bundle: Callable[[str], Path], tmp_path: Path
) -> None:
    out = tmp_path / "rows.jsonl"
    flags = (clips, "--bundle", small_bundle("frames"), "--threads", "1", "--jobs", "1", "--out", out)
    child = start(*flags, cwd=tmp_path)
    journal = work_folder(out) / "journal.jsonl"
    wait_for(lambda: child.poll() is not None or (journal.exists() and journal.read_bytes().count(b"\n") >= 2))
    assert child.poll() is None, child.communicate()
    workers = psutil.Process(child.pid).children(recursive=True)
    child.kill()
    child.communicate()
    assert not out.exists()
    _, alive = psutil.wait_procs(workers, timeout=30)
    assert not alive, "a worker outlived its parent"
    # What a kill inside a write leaves behind.
    with (work_folder(out) / "rows.jsonl").open("ab") as rows:
        rows.write(b'{"path":"half a ro')
    with journal.open("ab") as lines:
        lines.write(b'{"key":"half')
    refused = score(*flags, "--scores.calm.margin", "0.1", cwd=tmp_path)
    assert refused.returncode == 2
    assert "other settings" in refused.stderr
    again = score(*flags, "--resume", cwd=tmp_path)
    assert again.returncode == 0, again.stderr
    assert "going on: 1 of 3" in again.stdout or "going on: 2 of 3" in again.stdout
    assert out.read_bytes() == scored.read_bytes()
    assert not work_folder(out).exists()
    # A finished output is neither touched nor scored again unasked.
    assert score(*flags, "--resume", cwd=tmp_path).returncode == 0
    refused = score(*flags, cwd=tmp_path)
    assert refused.returncode == 2
    assert "--overwrite" in refused.stderr
    assert len(refused.stderr.splitlines()) == 1
    assert out.read_bytes() == scored.read_bytes()


def test_each_broken_input_gives_one_line_and_all_others_are_scored(
    clips: Path, scored: Path, small_bundle: Callable[[str], Path], tmp_path: Path
) -> None:
    whole = write_clip(tmp_path / "whole.avi", 0, 30).read_bytes()
    (tmp_path / "short.avi").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "text.mp4").write_text("this is no video\n")
    (tmp_path / "no.png").write_text("this is no image\n")
    (tmp_path / "empty").mkdir()
    still = cv2.imencode(".png", demo_frame(10))[1].tobytes()
    with zipfile.ZipFile(tmp_path / "escape.zip", "w") as archive:
        archive.writestr("../outside.png", still)
        archive.writestr("inside.png", still)
    (tmp_path / "bad.zip").write_bytes(b"PK\3\4 and nothing more")
    names = ("short.avi", "text.mp4", "no.png", "empty", "escape.zip", "bad.zip", "absent.mp4")
    good = clips / "below" / "c.avi"
    flags = ("--bundle", small_bundle("frames"), "--threads", "1", "--out", "rows.jsonl", "--jobs", "2")
    done = score(*names, good, *flags, cwd=tmp_path)
    assert done.returncode == 1
    lines = done.stderr.splitlines()
    for name in names:
        about = [line for line in lines if line.startswith(f"dfer-stream score: {name}")]
        assert len(about) == 1, (name, lines)
    assert len(lines) == len(names)
    assert "Traceback" not in done.stderr
    rows = rows_of(tmp_path / "rows.jsonl")
    assert [row for row in rows if row["path"] == str(good)] == [
        row for row in rows_of(scored) if row["path"] == str(good)
    ]
    cut = [row["frame_id"] for row in rows if row["path"] == "short.avi"]
    assert 5 < len(cut) < 25
    assert [row["path"] for row in rows if "member" in row] == ["escape.zip/inside.png"]
    assert not list(tmp_path.parent.rglob("outside.png"))


def test_a_file_that_no_worker_survives_is_quarantined_and_all_others_are_scored(
    clips: Path, small_bundle: Callable[[str], Path], tmp_path: Path
) -> None:
    long = tmp_path / "long.mp4"
    shutil.copy(demo_clip_path(), long)
    flags = ("--bundle", small_bundle("frames"), "--threads", "1", "--jobs", "1", "--out", "rows.jsonl")
    child = start(long, clips / "below" / "c.avi", *flags, cwd=tmp_path)
    unfinished = tmp_path / "rows.jsonl.unfinished"
    for _ in range(ATTEMPTS):
        wait_for(lambda: child.poll() is not None or any(part.stat().st_size for part in unfinished.glob("part-*-0.*")))
        assert child.poll() is None, child.communicate()
        worker = psutil.Process(child.pid).children()[0]
        (part,) = unfinished.glob("part-*-0.*")
        part.unlink()
        worker.send_signal(signal.SIGSEGV)
    _, err = child.communicate(timeout=240)
    assert child.returncode == 1
    assert len(err.splitlines()) == 1
    assert "long.mp4" in err
    assert "signal 11" in err
    assert f"{ATTEMPTS} times: quarantined" in err
    assert {row["path"] for row in rows_of(tmp_path / "rows.jsonl")} == {str(clips / "below" / "c.avi")}


def test_a_file_whose_worker_was_killed_once_is_scored_all_the_same(
    clips: Path, scored: Path, small_bundle: Callable[[str], Path], tmp_path: Path
) -> None:
    flags = ("--bundle", small_bundle("frames"), "--threads", "1", "--jobs", "1", "--out", tmp_path / "rows.jsonl")
    child = start(clips, *flags, cwd=tmp_path)
    unfinished = tmp_path / "rows.jsonl.unfinished"
    wait_for(lambda: child.poll() is not None or any(part.stat().st_size for part in unfinished.glob("part-*-0.*")))
    assert child.poll() is None, child.communicate()
    psutil.Process(child.pid).children()[0].kill()
    _, err = child.communicate(timeout=240)
    assert (child.returncode, err) == (0, "")
    assert (tmp_path / "rows.jsonl").read_bytes() == scored.read_bytes()


def make_faces(folder: Path) -> Path:
    rng = np.random.default_rng(0)
    face = demo_frame(10)[90:400, 165:475]
    with zipfile.ZipFile(folder / "faces.zip", "w") as archive:
        for number in range(40):
            grey = cv2.cvtColor(face, cv2.COLOR_BGR2GRAY) if number % 2 else face
            image = cv2.resize(grey, (48, 48), interpolation=cv2.INTER_AREA)
            image = np.clip(image + rng.normal(0, 4 + number, image.shape), 0, 255).astype(np.uint8)
            archive.writestr(f"f/{number}.png", cv2.imencode(".png", image)[1].tobytes())
        archive.writestr("f/broken.png", b"not an image")
        archive.writestr("labels.csv", "name,label\n")
        archive.writestr("__MACOSX/f/._0.png", b"shadow")
    return folder / "faces.zip"


@pytest.mark.parametrize("cadence", ["frames", "whole"])
def test_crops_in_a_zip_are_scored_once_each_as_a_full_window_of_themselves(
    cadence: str, small_bundle: Callable[[str], Path], tmp_path: Path
) -> None:
    zipped = make_faces(tmp_path)
    bundle = small_bundle(cadence)
    flags = ("--faces", "--format", "jsonl", "--out", "rows.jsonl", "--backend", "onnxruntime", "--align", "none")
    done = score("faces.zip", *flags, "--bundle", bundle, cwd=tmp_path)
    assert done.returncode == 1
    assert done.stderr.splitlines() == ["dfer-stream score: faces.zip/f/broken.png: is not an image that can be read"]
    rows = rows_of(tmp_path / "rows.jsonl")
    assert [row["member"] for row in rows] == [f"f/{k}.png" for k in range(40)]
    assert [row["path"] for row in rows] == [f"faces.zip/f/{k}.png" for k in range(40)]
    backend = open_backend(bundle, "onnxruntime")
    spec = backend.spec
    with zipfile.ZipFile(zipped) as archive:
        for row in rows[::7]:
            image = cv2.imdecode(np.frombuffer(archive.read(row["member"]), np.uint8), cv2.IMREAD_COLOR)
            assert image is not None
            small = cv2.resize(image[..., ::-1], (32, 32), interpolation=cv2.INTER_AREA)
            unit = np.repeat(np.asarray(small, np.uint8)[None, None], spec.unit, axis=1)
            features = np.repeat(np.array(backend.encode(unit)), spec.window, axis=0)
            logits = backend.head(features, np.arange(spec.window, dtype=np.int32)[None]).logits[0]
            assert [row["logits"][label] for label in spec.labels] == pytest.approx(logits.tolist(), abs=2e-5)
            powers = np.exp(logits - logits.max())
            assert list(row["probs"].values()) == pytest.approx((powers / powers.sum()).tolist(), abs=2e-5)
            assert row["label"] == spec.labels[int(logits.argmax())]
            assert row["confidence"] == max(row["probs"].values())
            assert row["abstained"] is False
            assert "face" not in row
            assert "quality" not in row  # not aligned: nothing is known of how good a look it is
            now = backend.head(features, np.arange(spec.window, dtype=np.int32)[None]).now
            assert now is not None
            assert [row["now_logits"][label] for label in spec.labels] == pytest.approx(now[0].tolist(), abs=2e-5)
            assert sum(row["now"].values()) == pytest.approx(1, abs=1e-5)


def test_crops_are_aligned_by_their_landmarks_and_low_confidence_is_marked(
    small_bundle: Callable[[str], Path], tmp_path: Path
) -> None:
    face = demo_frame(10)[90:400, 165:475]
    (tmp_path / "crops").mkdir()
    cv2.imwrite(str(tmp_path / "crops" / "0.png"), face)
    cv2.imwrite(str(tmp_path / "crops" / "1.png"), cv2.copyMakeBorder(face, 30, 30, 30, 30, cv2.BORDER_REPLICATE))
    cv2.imwrite(str(tmp_path / "crops" / "2.png"), np.full((64, 64), 128, np.uint8))
    flags = ("--faces", "--bundle", small_bundle("frames"), "--backend", "onnxruntime")
    done = score("crops", *flags, "--scores.calm.abstain-below", "0.9", "--out", "-", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert [row["aligned"] for row in rows] == [True, True, False]
    assert 200 < rows[0]["quality"]["size_px"] < 320
    assert rows[0]["quality"]["blur"] == pytest.approx(rows[1]["quality"]["blur"], abs=0.03)
    assert rows[0]["quality"]["yaw_deg"] == pytest.approx(rows[1]["quality"]["yaw_deg"], abs=5)
    assert "quality" not in rows[2]
    # A looser crop of the same face comes to the same place.
    assert list(rows[0]["logits"].values()) == pytest.approx(list(rows[1]["logits"].values()), abs=0.15)
    assert all(row["abstained"] and row["label"] for row in rows)
    assert "3 rows" in done.stderr
    # A reader that has seen enough ends the run without a word.
    line = f"{sys.executable} -m stream.cli score crops {' '.join(map(str, flags))} --quiet --out - | true"
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    piped = subprocess.run(line, shell=True, cwd=tmp_path, capture_output=True, text=True, env=environment, timeout=240)
    assert piped.stderr == ""


def test_stills_are_searched_for_faces_and_frames_of_a_folder_are_a_video(
    small_bundle: Callable[[str], Path], tmp_path: Path
) -> None:
    cv2.imwrite(str(tmp_path / "still.png"), demo_frame(10))
    cv2.imwrite(str(tmp_path / "wall.png"), np.full((240, 320, 3), 90, np.uint8))
    (tmp_path / "frames").mkdir()
    for number in range(9, 14):
        cv2.imwrite(str(tmp_path / "frames" / f"{number}.png"), demo_frame(number))
    flags = ("--bundle", small_bundle("frames"), "--fps", "10", "--format", "csv", "--jobs", "1")
    pictures = ("--annotate", "drawn", "--timeline", "lines")
    done = score("still.png", "wall.png", "frames", *flags, *pictures, cwd=tmp_path)
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1
    assert "wall.png" in done.stderr
    with (tmp_path / "scores.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["path"] for row in rows] == ["still.png", *["frames"] * 5]
    still, first = rows[0], rows[1]
    for key in ("box_x", "box_y", "box_w", "box_h"):
        assert float(still[key]) == pytest.approx(float(first[key]), abs=25)
    assert sum(float(still[f"probs_{name}"]) for name in ("happiness", "sadness", "neutral", "anger")) < 1
    assert still["abstained"] == "false"
    assert [float(row["t_s"]) for row in rows[1:]] == pytest.approx([0, 0.1, 0.2, 0.3, 0.4])
    assert json.loads(first["relevance"]) == pytest.approx([1 / 16] * 16, abs=0.05)
    assert still["relevance"] == ""
    assert float(still["blur"]) == pytest.approx(float(first["blur"]), abs=0.02)
    assert float(still["size_px"]) == pytest.approx(float(first["size_px"]), abs=25)
    assert still["now_logits_neutral"]
    assert first["onset_s"] == "0.0"
    drawn = cv2.VideoCapture(str(tmp_path / "drawn" / "frames.mp4"))
    assert drawn.get(cv2.CAP_PROP_FRAME_COUNT) == 5
    assert np.abs(drawn.read()[1].astype(int) - demo_frame(9)).max() > 60
    drawn.release()
    line = cv2.imread(str(tmp_path / "lines" / "frames.png"))
    assert line is not None
    assert line.std() > 10


def test_an_annotated_video_lasts_as_long_as_its_clip_of_variable_rate(
    small_bundle: Callable[[str], Path], tmp_path: Path
) -> None:
    times = [n for n in range(50) if n % 7 != 3]
    pictures = [np.ascontiguousarray(demo_frame(30)[..., ::-1])] * len(times)
    write_frames(tmp_path / "vfr.webm", Kind("libvpx-vp9", "webm", size=(640, 480)), pictures, times)
    flags = ("--bundle", small_bundle("frames"), "--threads", "1", "--jobs", "1", "--out", "rows.jsonl")
    done = score("vfr.webm", *flags, "--annotate", "drawn", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    rows = rows_of(tmp_path / "rows.jsonl")
    assert [row["t_s"] for row in rows] == pytest.approx([n / 25 for n in times], abs=0.002)
    (drawn,) = (tmp_path / "drawn").iterdir()
    video = cv2.VideoCapture(str(drawn))
    seconds = video.get(cv2.CAP_PROP_FRAME_COUNT) / video.get(cv2.CAP_PROP_FPS)
    video.release()
    assert seconds == pytest.approx(50 / 25, abs=0.1)
