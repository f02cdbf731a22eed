"""The daemon as a user starts it: a real process, a real clip, a real model, real sockets."""

from __future__ import annotations

import contextlib
import io
import itertools
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import jsonschema
import psutil
import pytest
import zmq

from stream.camera.paths import demo_clip_path
from stream.cli import PROGRAM
from stream.publish.wire import schema_path
from tests.stream.camera.fakes import DRIVER, steer
from tests.stream.camera.video.clips import Kind, write_clip

ROOT = Path(__file__).resolve().parents[3]
# The test driver is no setting a user can reach: it is put in where the settings are made.
STEERED = f"""
import sys, dataclasses, stream.config as config
from stream.camera.settings import CameraSettings
load = config.load_settings
def steered(args, **more):
    loaded = load(args, **more)
    camera = dataclasses.replace(loaded.settings.camera, driver="{DRIVER}")
    return dataclasses.replace(loaded, settings=dataclasses.replace(loaded.settings, camera=camera))
config.load_settings = steered
from stream.cli import main
sys.exit(main(sys.argv[1:]))
"""
POISONED = "import sys; sys.modules['torch'] = None; from stream.cli import main; sys.exit(main(sys.argv[1:]))"


def command(*flags: str | Path) -> list[str]:
    return [sys.executable, "-m", "stream.cli", "run", *map(str, flags)]


@pytest.fixture(autouse=True)
def own_endpoint(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The usual one may be taken: by a daemon of this machine's, or by a test that runs beside."""
    with tempfile.TemporaryDirectory(prefix="dfer-") as folder:
        monkeypatch.setenv("DFER_PUBLISH_BIND", f"ipc://{folder}/run.ipc")
        yield


def run(*flags: str | Path) -> subprocess.CompletedProcess[str]:
    """The command in this process; where the process itself is the point, :func:`command` starts one."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = PROGRAM.main(["run", *map(str, flags)])
    return subprocess.CompletedProcess(flags, code, out.getvalue(), err.getvalue())


def messages(output: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in output.splitlines()]


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four seconds of the demo at 15 fps, then half a second without a face."""
    path = tmp_path_factory.mktemp("clip") / "short.avi"
    source = cv2.VideoCapture(str(demo_clip_path()))
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 15, (640, 480))
    for i in range(120):
        frame = source.read()[1]
        if i % 2 == 0:
            writer.write(frame)
    for _ in range(8):
        writer.write(cv2.GaussianBlur(frame[:60, :80].repeat(8, 0).repeat(8, 1), (31, 31), 0))
    writer.release()
    source.release()
    return path


@pytest.fixture(scope="module")
def every_frame(small_bundle: Callable[[str], Path], clip: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    ipc = tmp_path_factory.mktemp("sockets") / "a.ipc"
    flags = ("--source", clip, "--every-frame", "--json", "--bundle", small_bundle("frames"), "--bind", f"ipc://{ipc}")
    done = subprocess.run(command(*flags), cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    return messages(done.stdout)


def test_every_frame_is_published_once_in_order_and_to_the_schema(every_frame: list[dict[str, Any]]) -> None:
    assert [m["frame_id"] for m in every_frame] == list(range(68))
    assert [m["seq"] for m in every_frame] == list(range(68))
    schema = json.loads(schema_path("faces").read_text())
    validator = jsonschema.Draft202012Validator(schema)
    for message in every_frame:
        validator.validate(message)
        assert message["valid"]
        assert message["t_capture_src"] == "file"


def test_one_face_keeps_one_id_and_is_labelled_from_its_first_sample(every_frame: list[dict[str, Any]]) -> None:
    faces = [(m["frame_id"], face) for m in every_frame for face in m["faces"]]
    assert {face["id"] for _, face in faces} == {faces[0][1]["id"]}
    full = [frame for frame, face in faces if face["window"]["n"] == 16]
    # Sixteen samples at 8 Hz: the last one falls 1.875 s after the first. The label waits for the first alone.
    assert full[0] == faces[0][0] + 29
    labelled = [frame for frame, face in faces if face["label"]]
    assert labelled[0] == faces[0][0]
    for _, face in faces:
        assert face["primary"] or face["state"] in ("coasting", "lost")
        # Out of sight for a moment it is still the face that was seen; for longer it is not.
        age_ms = face["score_age_ms"]
        assert face["ready"] == (face["state"] != "lost" and age_ms is not None and age_ms <= 250)
        if not face["ready"]:
            assert face["reason"] == "occluded"
            assert face["label"] is None
        if face["probs"]:
            assert sum(face["probs"].values()) == pytest.approx(1, abs=1e-4)
            assert sum(face["relevance"]) == pytest.approx(1, abs=1e-3)
    assert faces[-1][1]["state"] == "lost" or not every_frame[-1]["faces"] or faces[-1][1]["state"] == "coasting"


def test_a_label_is_what_leads_now_and_says_since_when(every_frame: list[dict[str, Any]]) -> None:
    faces = [(m["t_capture_ns"], face) for m in every_frame for face in m["faces"] if face["label"]]
    assert len(faces) > 50
    for (_, before), (t_ns, after) in itertools.pairwise(faces):
        assert after["smoothed"] == after["now"]
        assert after["confidence"] == after["now"][after["label"]]
        assert after["onset_ns"] <= t_ns
        if before["label"] == after["label"]:
            assert after["onset_ns"] >= before["onset_ns"]


def test_scores_are_held_between_samples_and_say_how_old_they_are(every_frame: list[dict[str, Any]]) -> None:
    ages = [face["score_age_ms"] for m in every_frame for face in m["faces"] if face["scored_frame_id"] is not None]
    assert min(ages) == 0
    assert max(ages) >= 60
    for m in every_frame:
        for face in m["faces"]:
            if face["scored_frame_id"] == m["frame_id"]:
                assert face["score_age_ms"] == 0


def scores_of(published: list[dict[str, Any]]) -> dict[int, Any]:
    keys = ("id", "box", "state", "logits", "probs", "smoothed", "label", "window", "relevance")
    return {m["frame_id"]: [{key: face[key] for key in keys} for face in m["faces"]] for m in published}


def test_playing_in_real_time_gives_the_same_scores_until_a_frame_is_dropped(
    small_bundle: Callable[[str], Path], tmp_path: Path
) -> None:
    clip = tmp_path / "slow.avi"  # 6 fps, so that even a busy machine keeps up
    source = cv2.VideoCapture(str(demo_clip_path()))
    writer = cv2.VideoWriter(str(clip), cv2.VideoWriter.fourcc(*"MJPG"), 6, (640, 480))
    for i in range(100):
        frame = source.read()[1]
        if i % 5 == 0:
            writer.write(frame)
    writer.release()
    flags: list[str | Path] = [
        "--source",
        f"file://{clip}",
        "--json",
        "--bundle",
        small_bundle("frames"),
        "--bind",
        f"ipc://{tmp_path}/b",
    ]
    expected = scores_of(messages(run(*flags, "--every-frame").stdout))
    assert len(expected) == 20
    live = messages(run(*flags).stdout)
    undisturbed = scores_of([m for m in live if m["valid"] and not m["dropped_total"]])
    assert len(undisturbed) >= 5
    for frame_id, faces in undisturbed.items():
        assert faces == expected[frame_id]


@pytest.mark.parametrize("cadence", ["snippets", "whole"])
def test_all_cadences_stream(small_bundle: Callable[[str], Path], clip: Path, tmp_path: Path, cadence: str) -> None:
    done = run(
        "--source", clip, "--every-frame", "--json", "--bundle", small_bundle(cadence), "--bind", f"ipc://{tmp_path}/c"
    )
    assert done.returncode == 0, done.stderr
    scored = [face for m in messages(done.stdout) for face in m["faces"] if face["probs"]]
    assert any(face["ready"] and face["label"] for face in scored)


def test_it_runs_where_torch_cannot_be_imported(
    small_bundle: Callable[[str], Path], clip: Path, tmp_path: Path
) -> None:
    flags: list[str | Path] = ["run", "--source", clip, "--frames", "20", "--json", "--bundle", small_bundle("frames")]
    flags += ["--bind", f"ipc://{tmp_path}/d"]
    poisoned = [sys.executable, "-c", POISONED, *map(str, flags)]
    done = subprocess.run(poisoned, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert len(messages(done.stdout)) == 20


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--source", "file:///nowhere/clip.mp4"], "clip.mp4"),
        (["--bundle", "/nowhere/bundle"], "bundle.json"),
        (["--model.encode-hz", "9"], "whole multiple"),
        (["--bind", "tcp://0.0.0.0:5570"], "keys"),
        (["--source", "teapot://kitchen"], "teapot"),
        (["--stats", "/nowhere/stats.json"], "--stats /nowhere/stats.json: the folder does not exist"),
    ],
)
def test_what_cannot_be_used_is_refused_in_one_line(
    small_bundle: Callable[[str], Path], flags: list[str], words: str
) -> None:
    base: list[str | Path] = [] if "--bundle" in flags else ["--bundle", small_bundle("frames")]
    done = run(*base, *flags, "--json", "--frames", "3")
    assert done.returncode == 2
    assert done.stdout == ""
    assert words in done.stderr
    assert "Traceback" not in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_the_end_of_a_file_says_what_is_missing(small_bundle: Callable[[str], Path], tmp_path: Path) -> None:
    whole = write_clip(tmp_path / "whole.mkv", Kind("libx264", "matroska")).read_bytes()
    for cut, told in ((len(whole), "ended after"), (len(whole) // 2, "cut short: ")):
        (tmp_path / "clip.mkv").write_bytes(whole[:cut])
        done = run("--source", tmp_path / "clip.mkv", "--model", small_bundle("frames"), "--quiet")
        assert done.returncode == 0
        assert done.stderr.count("\n") == 1
        assert told in done.stderr


def test_a_full_disk_under_the_messages_ends_it_in_one_line(
    small_bundle: Callable[[str], Path], clip: Path, tmp_path: Path
) -> None:
    flags = ("--bundle", small_bundle("frames"), "--source", clip, "--bind", f"ipc://{tmp_path}/a.ipc", "--json")
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(command(*flags), cwd=ROOT, stdout=full, stderr=subprocess.PIPE, text=True, timeout=120)
    assert done.returncode == 2
    assert done.stderr.startswith("dfer-stream run: No space left on device")
    assert done.stderr.count("\n") == 1
    assert not (tmp_path / "a.ipc").exists()


@pytest.mark.parametrize("closed", ["2>/dev/full", ">&-", "2>&-", ">/dev/full"])
def test_no_room_for_the_log_and_no_output_leave_it_publishing(
    small_bundle: Callable[[str], Path], clip: Path, tmp_path: Path, closed: str
) -> None:
    stats = tmp_path / "stats.json"
    flags = ("--bundle", small_bundle("frames"), "--source", clip, "--bind", f"ipc://{tmp_path}/a.ipc", "--frames", "5")
    done = subprocess.run(
        ["bash", "-c", f'"$0" "$@" {closed}', *command(*flags, "--stats", stats)],
        cwd=ROOT,
        env={**os.environ, "INVOCATION_ID": "" if closed == ">/dev/full" else "x"},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    assert json.loads(stats.read_text())["published_total"] >= 5
    assert not (tmp_path / "a.ipc").exists()


def test_a_flipped_byte_in_the_model_is_refused_by_name(small_bundle: Callable[[str], Path], tmp_path: Path) -> None:
    damaged = tmp_path / "bundle"
    damaged.mkdir()
    for file in small_bundle("frames").iterdir():
        content = bytearray(file.read_bytes())
        if file.name == "encoder.onnx.data":
            content[len(content) // 2] ^= 1
        (damaged / file.name).write_bytes(content)
    done = run("--bundle", damaged, "--frames", "3")
    assert done.returncode == 2
    assert "encoder.onnx.data" in done.stderr


def wait_for(
    process: subprocess.Popen[str], wanted: Callable[[dict[str, Any]], bool], seconds: float = 60
) -> dict[str, Any]:
    deadline = time.monotonic() + seconds
    assert process.stdout is not None
    for line in process.stdout:
        message: dict[str, Any] = json.loads(line)
        if wanted(message):
            return message
        assert time.monotonic() < deadline, f"still waiting; last message {message}"
    raise AssertionError(f"the daemon ended: {process.wait()}")


def test_an_unplugged_camera_is_published_as_such_and_comes_back(
    small_bundle: Callable[[str], Path], tmp_path: Path
) -> None:
    script = tmp_path / "mode"
    steer(script, "absent")
    flags: list[str | Path] = [
        "--source",
        f"v4l2://{script}",
        "--json",
        "all",
        "--bundle",
        small_bundle("frames"),
    ]
    flags += ["--bind", f"ipc://{tmp_path}/e.ipc"]
    steered = [sys.executable, "-c", STEERED, "run", *map(str, flags)]
    with subprocess.Popen(steered, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        try:
            absent = wait_for(process, lambda m: m["schema"] == "dfer.faces/1.1")
            assert (absent["valid"], absent["reason"], absent["faces"]) == (False, "no_camera", [])
            for round_ in range(2):
                steer(script, "ok")
                wait_for(process, lambda m: m.get("event") == "camera_ok")
                alive = wait_for(process, lambda m: m.get("valid") is True)
                assert alive["reason"] == "ok"
                steer(script, "absent" if round_ else "hang")
                gone = wait_for(process, lambda m: m.get("valid") is False)
                assert gone["reason"] == ("no_camera" if round_ else "stalled")
                assert gone["t_capture_ns"] is None
            status = wait_for(process, lambda m: m["schema"].startswith("dfer.status/"))
            assert status["state"] == "degraded"
        finally:
            process.send_signal(signal.SIGTERM)
            assert process.stdout is not None
            process.stdout.read()
        assert process.wait(30) == 0
    assert not (tmp_path / "e.ipc").exists()


def test_interrupt_ends_cleanly_and_leaves_nothing(small_bundle: Callable[[str], Path], tmp_path: Path) -> None:
    before = set(os.listdir("/dev/shm")) if Path("/dev/shm").is_dir() else set()
    flags: list[str | Path] = [
        "--source",
        "demo://",
        "--json",
        "--bundle",
        small_bundle("frames"),
        "--bind",
        f"ipc://{tmp_path}/f.ipc",
    ]
    with subprocess.Popen(
        command(*flags), cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        wait_for(process, lambda m: m["frame_id"] > 3)
        children = psutil.Process(process.pid).children(recursive=True)
        assert children
        process.send_signal(signal.SIGINT)
        output, errors = process.communicate(timeout=30)
    assert process.returncode == 0
    assert "Traceback" not in errors
    assert not psutil.wait_procs(children, timeout=10)[1]
    assert not (tmp_path / "f.ipc").exists()
    if before:
        assert not {name for name in set(os.listdir("/dev/shm")) - before if "dfer" in name}


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT])
def test_an_ending_signal_leaves_the_last_status_and_no_socket(
    small_bundle: Callable[[str], Path], tmp_path: Path, number: signal.Signals
) -> None:
    stats = tmp_path / "stats.json"
    flags = ("--source", "demo://", "--json", "--bundle", small_bundle("frames"), "--stats", stats)
    with subprocess.Popen(
        command(*flags, "--bind", f"ipc://{tmp_path}/a.ipc"),
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_DFL),  # the tests may run under nohup
    ) as process:
        wait_for(process, lambda m: m["frame_id"] > 1)
        process.send_signal(signal.SIGUSR1)
        wait_for(process, lambda m: m["frame_id"] > 3)
        process.send_signal(number)
        errors = process.communicate(timeout=30)[1]
    assert process.returncode == 0, errors
    assert errors == "event=signal_ignored signal=SIGUSR1\n"
    assert json.loads(stats.read_text())["published_total"] > 0
    assert not (tmp_path / "a.ipc").exists()


def test_a_subscriber_in_another_process_gets_what_is_published(
    small_bundle: Callable[[str], Path], tmp_path: Path
) -> None:
    endpoint = f"ipc://{tmp_path}/g.ipc"
    flags: list[str | Path] = [
        "--source",
        "demo://",
        "--quiet",
        "--bundle",
        small_bundle("frames"),
        "--bind",
        endpoint,
        "--seconds",
        "60",
    ]
    with subprocess.Popen(command(*flags), cwd=ROOT) as process, zmq.Context() as context:
        socket = context.socket(zmq.SUB)
        socket.subscribe(b"faces/cam0 ")
        socket.subscribe(b"status/cam0 ")
        socket.rcvtimeo = 30_000
        socket.connect(endpoint)
        kinds: dict[bytes, list[dict[str, Any]]] = {b"faces/cam0": [], b"status/cam0": []}
        faces, statuses = kinds[b"faces/cam0"], kinds[b"status/cam0"]
        # The first status goes out before the first frame is published, and counts none.
        while len(faces) < 20 or not any(m["published_total"] for m in statuses):
            topic, _, body = socket.recv().partition(b" ")
            kinds[topic].append(json.loads(body))
        socket.close(0)
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 0
    sequence = [m["seq"] for m in faces]
    assert sequence == list(range(sequence[0], sequence[0] + len(sequence)))
    assert statuses[-1]["published_total"] > 0
