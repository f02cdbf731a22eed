from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import cv2
import pytest
import zmq

from stream.apps.driver.picture import draw
from stream.apps.driver.policy import DriverPolicy
from stream.apps.driver.replay import read_log, replay
from stream.cli import main
from stream.publish import wire
from stream.publish.driver import DriverState
from stream.publish.message import Faces
from stream.publish.publisher import Publisher
from stream.publish.wire import boot_id
from stream.recording.mcap_file import McapFile
from stream.recording.reading import McapReader
from tests.stream.apps.driver.drives import BOOT, QUICK, Drive, calm, driver_face, on_the_road
from tests.waiting import wait_for

ROOT = Path(__file__).resolve().parents[4]
QUICKLY = ["--baseline.seconds", "3", "--baseline.first-s", "1"]
SLOWLY = ["--input.stale-ms", "30000", "--input.unseen-s", "30", "--input.clock-jump-ms", "30000"]
"""A machine with other tests on it may stop for seconds; what such a hole means, the scenarios say."""


def recorded(tmp_path: Path) -> Path:
    """A drive as `dfer-stream run --json all` prints it: calm, asleep, no camera, calm."""
    drive = Drive(QUICK)
    lines: list[bytes] = []
    step = drive.policy.step

    def keep(message: Faces | None, now_ns: int, unreadable: bool = False) -> list[DriverState]:
        if message is not None:
            lines.append(wire.encode(message))
        return step(message, now_ns, unreadable)

    drive.policy.step = keep  # type: ignore[method-assign]
    drive.drive(13).drive(4, lambda t: {"eyes": 0.02}).blind(7).drive(20)
    lines.insert(5, b'{"schema":"dfer.event/1.1","event":"face_new"}')
    path = tmp_path / "drive.jsonl"
    path.write_bytes(b"\n".join(lines) + b"\n")
    return path


class TestReplay:
    def test_a_log_gives_what_the_live_run_gave(self, tmp_path: Path) -> None:
        path = recorded(tmp_path)
        live = Drive(QUICK).drive(13).drive(4, lambda t: {"eyes": 0.02}).blind(7).drive(20)
        policy = DriverPolicy("cam0", "s", BOOT, QUICK)
        again = list(replay(read_log(path), policy))
        changes = [[(s.state, s.reason) for s in states] for states in (live.published, again)]
        runs = [[a for a, b in zip(words, [None, *words], strict=False) if a != b] for words in changes]
        assert runs[0] == runs[1]
        assert ("alarm", "ok") in runs[0]

    def test_people_see_each_change_and_a_picture(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        path, png = recorded(tmp_path), tmp_path / "drive.png"
        flags = ["--baseline.seconds", "10", "--baseline.first-s", "2"]
        assert main(["driver", "--replay", str(path), "--timeline", str(png), *flags]) == 0
        lines = capsys.readouterr().out.splitlines()
        assert "cam0  fine" in lines
        assert "cam0  alarm  eye_closure alarm" in lines
        assert "cam0  unknown  (no camera)" in lines
        assert len(lines) < 20
        picture = cv2.imread(str(png))
        assert picture is not None
        assert picture.shape[1] == 1200

    def test_json_lines_are_driver_messages(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        assert main(["driver", "--replay", str(recorded(tmp_path)), "--json"]) == 0
        states = [wire.decode(line, DriverState) for line in capsys.readouterr().out.splitlines()]
        assert [state.seq for state in states] == list(range(1, len(states) + 1))
        assert "fine" not in {state.state for state in states}, "a minute is needed by default"

    def test_a_broken_line_is_an_unreadable_message(self, tmp_path: Path) -> None:
        path = recorded(tmp_path)
        lines = path.read_bytes().splitlines()
        lines.insert(190, b'{"schema":"dfer.faces/1.1","seq":')
        path.write_bytes(b"\n".join(lines))
        policy = DriverPolicy("cam0", "s", BOOT, QUICK)
        assert "unreadable" in {state.reason for state in replay(read_log(path), policy)}

    def test_a_recording_gives_what_its_log_gives_and_a_cut_one_what_it_holds(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        log, path = recorded(tmp_path), tmp_path / "drive.mcap"
        bodies = [line for line in log.read_bytes().splitlines() if b"dfer.faces" in line]
        begun_ns = 1_790_000_000_000_000_000
        made = McapFile(path, begun_ns)
        for k, body in enumerate(bodies):
            made.write("event/cam0" if k == 3 else "faces/cam0", body, begun_ns + k * 66_000_000)
        made.close()
        flags = ["--baseline.seconds", "10", "--baseline.first-s", "2"]
        assert main(["driver", "--replay", str(path), *flags]) == 0
        whole = capsys.readouterr().out
        assert main(["driver", "--replay", str(log), *flags]) == 0
        assert whole == capsys.readouterr().out
        cut = tmp_path / "cut.mcap"
        cut.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3])
        assert main(["driver", "--replay", str(cut), *flags]) == 0
        told = capsys.readouterr()
        assert whole.startswith(told.out)
        assert "the file ends" in told.err

    def test_a_file_played_fast_is_judged_by_its_own_time(self) -> None:
        policy = DriverPolicy("cam0", "s", BOOT, QUICK)
        drive = Drive(QUICK)
        messages = []
        for k in range(14 * 15):
            message = drive.message([driver_face(**calm(k / 15))], t_capture_src="file")
            message.t_capture_ns = 1_000_000_000 + k * 66_000_000
            drive.now_ns += 2_000_000
            messages.append(message)
        assert list(replay(messages, policy))[-1].state == "fine"

    def test_rows_of_score_are_taken_too(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        row = {
            "path": "a.mp4", "face": "1", "box": [1, 2, 3, 4], "state": "tracked", "ready": True, "reason": "ok",
            "primary": True, "score": 0.9, "probs": {"anger": 1.0}, "smoothed": None,
        }  # fmt: skip
        rows = [json.dumps({**row, "t_s": k / 15, "frame_id": k}) for k in range(60)]
        path = tmp_path / "scores.jsonl"
        path.write_text("\n".join(rows))
        assert main(["driver", "--replay", str(path)]) == 0
        assert "unknown  (head unseen)" in capsys.readouterr().out

    @pytest.mark.parametrize(
        ("content", "words"),
        [
            (b"", "no faces message"),
            (b"hello\n", "no faces message"),
            (b'{"t_s": 1}\n', "no row of `dfer-stream score`"),
        ],
    )
    def test_what_is_no_log_is_refused(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str], content: bytes, words: str
    ) -> None:
        path = tmp_path / "x.jsonl"
        path.write_bytes(content)
        assert main(["driver", "--replay", str(path)]) == 2
        error = capsys.readouterr().err
        assert words in error
        assert len(error.splitlines()) == 1

    @pytest.mark.parametrize(
        ("arguments", "words"),
        [
            (["--replay", "/nowhere/x.jsonl"], "No such file"),
            (["--timeline", "x.png"], "--timeline draws a log"),
            (["--attention.yaw-deg", "wide"], "must be number"),
            (["ipc://x"], "the path must be absolute"),
        ],
    )
    def test_wrong_use_is_one_line(self, capsys: pytest.CaptureFixture[str], arguments: list[str], words: str) -> None:
        assert main(["driver", *arguments]) == 2
        error = capsys.readouterr().err
        assert words in error
        assert len(error.splitlines()) == 1

    def test_a_picture_of_a_name_that_is_none(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        assert main(["driver", "--replay", str(recorded(tmp_path)), "--timeline", str(tmp_path / "x.txt")]) == 2
        assert ".png" in capsys.readouterr().err


def test_the_picture_shows_each_state_in_its_colour() -> None:
    drive = on_the_road()
    picture = draw(drive.published[-20:])
    assert (picture[30, 700] == (0, 158, 115)).all()
    assert (draw(Drive().silence(3).published)[30, 700] == (96, 102, 114)).all()


def test_thresholds_and_limits_are_printed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["driver", "--thresholds", "--attention.yaw-deg", "41"]) == 0
    assert "| `attention.yaw_deg` | 41 |" in capsys.readouterr().out
    assert main(["driver", "--limits"]) == 0
    shown = capsys.readouterr().out
    assert "What the driver policy is not" in shown
    assert "certified" in shown


class Road:
    """A daemon's place taken: a calm driver, 15 messages a second, on a real socket in a thread of its own."""

    def __init__(self, endpoint: str) -> None:
        self.look: dict[str, float | None] = {}
        self.going, self.quiet, self.garbage = True, False, False
        self._publisher = Publisher("cam7", endpoint)
        self.endpoint = self._publisher.endpoint
        self._thread = threading.Thread(target=self._publish, daemon=True)
        self._thread.start()

    def _publish(self) -> None:
        drive, pause = Drive(), threading.Event()
        with self._publisher as publisher:
            while self.going:
                pause.wait(1 / 15)
                drive.now_ns = time.monotonic_ns()
                message = drive.message([driver_face(**self.look)], source="cam7", boot_id=boot_id())  # type: ignore[arg-type]
                if not self.quiet:
                    publisher.faces(b'{"schema": "dfer.faces/9.0"}' if self.garbage else wire.encode(message))
                publisher.serve()

    def close(self) -> None:
        self.going = False
        self._thread.join()


@contextmanager
def command(*arguments: str) -> Iterator[subprocess.Popen[str]]:
    argv = [sys.executable, "-m", "stream.cli", "driver", *arguments]
    environ = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"}
    with subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environ) as child:
        try:
            yield child
        finally:
            child.kill()


@pytest.fixture
def road(tmp_path: Path) -> Iterator[Road]:
    made = Road(f"ipc://{tmp_path}/cam7.ipc")
    yield made
    made.close()


class TestLive:
    def test_any_subscriber_hears_the_driver(self, road: Road, tmp_path: Path) -> None:
        bind = f"ipc://{tmp_path}/driver.ipc"
        with command(road.endpoint, "--bind", bind, *QUICKLY, *SLOWLY) as child, zmq.Context() as context:
            socket = context.socket(zmq.SUB)
            socket.subscribe(b"driver/cam7 ")
            socket.connect(bind)
            socket.rcvtimeo = 60_000

            def hear_until(found: Callable[[DriverState], bool]) -> DriverState:
                deadline = time.monotonic() + 60
                while time.monotonic() < deadline:
                    topic, _, body = socket.recv().partition(b" ")
                    assert topic == b"driver/cam7"
                    state = wire.decode(body, DriverState)
                    if found(state):
                        return state
                raise AssertionError("it never came")

            try:
                assert hear_until(lambda state: state.state == "fine").face == "d1"
                road.look = {"eyes": 0.01}
                asleep = hear_until(lambda state: state.state == "alarm")
                assert asleep.findings["eye_closure"].seconds >= 3
                road.look = {}
                hear_until(lambda state: state.state == "fine")
                road.garbage = True
                hear_until(lambda state: state.reason == "unreadable" and not state.valid)
                assert child.stdout is not None
                assert child.stdout.readline() == "cam7  learning\n"
            finally:
                socket.close(0)

    def test_it_is_listened_to_and_recorded_beside_the_daemon(self, road: Road, tmp_path: Path) -> None:
        bind, out = f"ipc://{tmp_path}/driver.ipc", tmp_path / "ride.mcap"
        environ = {**os.environ, "PYTHONPATH": str(ROOT)}
        record = ["record", str(out), "--endpoint", road.endpoint, "--endpoint", bind]
        with (
            command(road.endpoint, "--bind", bind, *QUICKLY, *SLOWLY),
            subprocess.Popen([sys.executable, "-m", "stream.cli", *record], env=environ) as recorder,
        ):
            for form in ((), ("--json",)):
                heard = subprocess.run(
                    [sys.executable, "-m", "stream.cli", "listen", bind, "--topic", "driver", "--count", "3", *form],
                    env=environ, capture_output=True, text=True, timeout=120,
                )  # fmt: skip
                assert heard.returncode == 0, heard.stderr
                first = heard.stdout.splitlines()[0]
                assert first.startswith("cam7  ") or wire.decode(first, DriverState).source == "cam7"
                assert "-- 3 messages; alive" in heard.stderr or form
            # A part is handed over once a second; it holds both kinds long before the recorder is asked to end.
            wait_for(lambda: out.exists() and {each.kind for each in McapReader(out)} >= {"faces", "driver"})
            recorder.terminate()
            assert recorder.wait(60) == 0
        kept = list(McapReader(out))
        assert {each.kind for each in kept} == {"faces", "driver"}
        states = [wire.decode(each.body, DriverState) for each in kept if each.kind == "driver"]
        assert [b.seq - a.seq for a, b in itertools.pairwise(states)] == [1] * (len(states) - 1)
        again = list(read_log(out))
        assert again
        assert all(isinstance(message, Faces) for message in again)

    def test_a_daemon_that_dies_is_unknown_within_a_second(self, road: Road) -> None:
        with command(road.endpoint, "--bind", "tcp://127.0.0.1:*", "--json", *QUICKLY) as child:
            assert child.stdout is not None
            while wire.decode(child.stdout.readline(), DriverState).reason in ("no_message", "stale"):
                pass
            road.quiet = True
            while wire.decode(line := child.stdout.readline(), DriverState).reason != "no_message":
                pass
            assert wire.decode(line, DriverState).state == "unknown"

    def test_a_port_in_use_is_one_line(self, road: Road) -> None:
        with Publisher("x", "tcp://127.0.0.1:*") as taken, command(road.endpoint, "--bind", taken.endpoint) as child:
            _, error = child.communicate(timeout=60)
        assert child.returncode == 2
        assert "in use" in error
        assert len(error.splitlines()) == 1

    def test_a_dead_endpoint_is_said_and_ends_in_part(self, tmp_path: Path) -> None:
        with command(f"ipc://{tmp_path}/none.ipc", "--seconds", "1") as child:
            _, error = child.communicate(timeout=60)
        assert child.returncode == 1
        assert "nothing heard on ipc://" in error
        assert len(error.splitlines()) == 1

    def test_it_ends_when_told_and_leaves_no_socket(self, road: Road, tmp_path: Path) -> None:
        with command(road.endpoint, "--bind", f"ipc://{tmp_path}/driver.ipc", "--json") as child:
            assert child.stdout is not None
            assert child.stdout.readline()
            assert (tmp_path / "driver.ipc").exists()
            child.terminate()
            child.communicate(timeout=60)
        assert child.returncode == 0
        assert not (tmp_path / "driver.ipc").exists()

    def test_it_ends_by_itself_and_on_ctrl_c(self, road: Road) -> None:
        with command(road.endpoint, "--bind", "tcp://127.0.0.1:*", "--count", "3") as child:
            child.communicate(timeout=60)
        assert child.returncode == 0
        with command(road.endpoint, "--bind", "tcp://127.0.0.1:*", "--json") as child:
            assert child.stdout is not None
            assert child.stdout.readline()
            child.send_signal(2)
            child.communicate(timeout=60)
        assert child.returncode == 130


def test_the_policy_is_no_heavier_than_any_listener() -> None:
    code = (
        "import sys\nfrom stream.cli import main\n"
        "try: main(['driver', '--help'])\nexcept SystemExit: pass\n"
        "print([name for name in ('openvino', 'onnxruntime', 'torch', 'cv2') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
