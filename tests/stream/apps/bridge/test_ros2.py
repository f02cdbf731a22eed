"""Against a real ROS 2: the bridge and an rclpy node, each a process of its own."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from engine.spec import MAFW_CLASSES
from stream.apps.bridge.ros2.mapping import (
    EXPRESSIONS,
    LINGER_NS,
    Humans155,
    diagnostics,
    expression_of,
    ros_id,
)
from stream.cli import main
from stream.publish.message import Face, Faces
from stream.subscribe.client import Client
from tests.stream.apps.bridge.playing import Playing
from tests.subscribers.feed import face, faces, status
from tests.waiting import wait_for

ROOT = Path(__file__).resolve().parents[4]
MESSAGES = ROOT / "tests" / "ros2" / "hri_msgs" / "msg"


@pytest.fixture(scope="session")
def ros_python() -> str:
    """ROS's own Python, or a skip that says how to have it."""
    python = Path(os.environ.get("DFER_ROS2", ROOT / ".cache" / "ros2")) / "venv" / "bin" / "python"
    if not python.exists():
        pytest.skip("no ROS 2 here: `make ros2` builds one of wheels (320 MB) into .cache/ros2, or DFER_ROS2 names it")
    return str(python)


class Graph:
    """A ROS graph of this test's own: bridges and listeners."""

    def __init__(self, python: str, folder: Path) -> None:
        self._python = python
        self._environ = {
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "PYTHONUNBUFFERED": "1",
            "ROS_LOG_DIR": str(folder / "log"),
            "ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST",
            "ROS_DOMAIN_ID": str(random.SystemRandom().randrange(1, 100)),
            "ROS_PYTHON_CHECK_FIELDS": "1",
        }
        self._started: list[subprocess.Popen[str]] = []

    def bridge(self, *arguments: str) -> subprocess.Popen[str]:
        return self._start("-m", "stream.cli", "bridge", "ros2", *arguments)

    def listener(self) -> Listener:
        return Listener(self._start(str(ROOT / "tests" / "ros2" / "listener.py")))

    def close(self) -> None:
        for child in self._started:
            child.kill()
            child.wait()

    def _start(self, *arguments: str) -> subprocess.Popen[str]:
        child = subprocess.Popen([self._python, *arguments], env=self._environ, stdout=subprocess.PIPE, text=True)
        self._started.append(child)
        return child


class Listener:
    """What a listening node printed."""

    def __init__(self, child: subprocess.Popen[str]) -> None:
        self.child = child
        self.heard: list[dict[str, Any]] = []
        threading.Thread(target=self._read, daemon=True).start()
        wait_for(lambda: bool(self.heard))

    def of(self, kind: str, **fields: Any) -> list[dict[str, Any]]:
        return [
            each
            for each in list(self.heard)
            if each["kind"] == kind and all(each[name] == value for name, value in fields.items())
        ]

    def _read(self) -> None:
        assert self.child.stdout is not None
        for line in self.child.stdout:
            self.heard.append(json.loads(line))


@pytest.fixture
def graph(ros_python: str, tmp_path: Path) -> Iterator[Graph]:
    made = Graph(ros_python, tmp_path)
    yield made
    made.close()


def two(seq: int) -> list[Face]:
    first, second = face(20), face(20)
    second.id, second.box, second.primary = "f2", (400.0, 90.0, 100.0, 100.0), False
    return [first, second]


def longest_run(told: list[dict[str, Any]], published: dict[int, Faces], ready: bool) -> int:
    """How many messages of faces, or of those that are ready, came in a row with none left out.

    A new face has new topics, and what is said before they are found reaches nobody: the run goes on with its first.
    """
    place: dict[tuple[int, str], int] = {}
    seen: Counter[str] = Counter()
    for stamp, message in published.items():
        seen_now = [one for one in message.faces if one.state != "lost"]
        for name in (ros_id(one.id, message.session) for one in seen_now if one.ready or not ready):
            place[stamp, name] = seen[name]
            seen[name] += 1
    longest = run = 0
    last: dict[str, int] = {}
    for key in ((each["stamp"], each["face"]) for each in told):
        if key in place:
            number = place[key]
            run = run + 1 if number == last.get(key[1], number - 1) + 1 else 1
            longest, last[key[1]] = max(longest, run), number
    return longest


def test_a_live_run_arrives_field_by_field(graph: Graph, tmp_path: Path) -> None:
    endpoint = f"ipc://{tmp_path}/demo.ipc"
    listener = graph.listener()
    graph.bridge(endpoint)
    run = [sys.executable, "-m", "stream.cli", "run", "--source", "demo://", "--bind", endpoint, "--quiet"]
    published: dict[int, Faces] = {}
    with Client(endpoint) as client, subprocess.Popen(run, cwd=ROOT) as daemon:
        try:
            looked = 0

            def enough() -> bool:
                nonlocal looked
                while (message := client.receive(0.0)) is not None:
                    assert isinstance(message, Faces)
                    if message.t_capture_unix_ns is not None:
                        published[message.t_capture_unix_ns] = message
                # Counting them all again after each would take the time that the others need to be in time.
                if len(published) < looked + 50:
                    return False
                looked = len(published)
                kinds = {"roi": False, "expression": True}
                return min(longest_run(listener.of(kind), published, ready) for kind, ready in kinds.items()) >= 300

            # On a machine with no time a message may be lost on the way, by design: another run is waited for.
            wait_for(enough, 240)
        finally:
            daemon.kill()
    tracked, regions, expressions = (listener.of(kind) for kind in ("tracked", "roi", "expression"))
    regions = [each for each in regions if each["stamp"] in published]
    expressions = [each for each in expressions if each["stamp"] in published]
    assert min(len(regions), len(expressions)) >= 300
    for each in tracked:
        message = published.get(each["stamp"])
        if message is not None and message.valid:
            assert each["ids"] == [ros_id(face.id, message.session) for face in message.faces]
            assert each["frame_id"] == message.source
    for each in regions:
        message = published[each["stamp"]]
        (found,) = [face for face in message.faces if ros_id(face.id, message.session) == each["face"]]
        assert message.width is not None
        assert message.height is not None
        x, y, width, height = found.box
        want = [x / message.width, y / message.height, (x + width) / message.width, (y + height) / message.height]
        assert each["box"] == pytest.approx([min(max(value, 0), 1) for value in want], abs=1e-6)
        assert each["c"] == pytest.approx(found.score, abs=1e-6)
    words = set()
    for each in expressions:
        message = published[each["stamp"]]
        (found,) = [face for face in message.faces if ros_id(face.id, message.session) == each["face"]]
        assert found.ready
        if found.label is None:
            assert (each["expression"], each["confidence"]) == ("", 0.0)
        else:
            assert each["expression"] == constants()[EXPRESSIONS[found.label]]
            assert each["confidence"] == pytest.approx(found.confidence, abs=1e-6)
        assert (each["valence"], each["arousal"]) == ("nan", "nan")
        words.add(each["expression"])
    assert "happy" in words
    assert listener.of("diagnostics", level=0)


def test_two_faces_alternating_leave_no_topic_and_no_id(graph: Graph, playing: Playing) -> None:
    playing.show(lambda seq: [two(seq)[seq % 2]])
    listener = graph.listener()
    graph.bridge(playing.endpoint)
    names = [ros_id(name, playing.session) for name in ("f1", "f2")]
    wait_for(lambda: len(listener.of("tracked")) >= 500)
    assert {tuple(each["ids"]) for each in listener.of("tracked")} <= {(names[0],), (names[1],), ()}
    playing.show(lambda seq: [])
    wait_for(lambda: listener.of("tracked")[-1]["ids"] == [])
    wait_for(lambda: listener.of("topics")[-1]["topics"] == ["/humans/faces/tracked"])


def test_it_outlives_the_daemon_and_the_graph(graph: Graph, tmp_path: Path, playing: Playing) -> None:
    playing.show(two)
    first = graph.listener()
    bridge = graph.bridge(playing.endpoint)
    old = [ros_id(name, playing.session) for name in ("f1", "f2")]
    wait_for(lambda: bool(first.of("tracked", ids=old)))
    playing.quiet = True
    wait_for(lambda: first.of("tracked")[-1]["ids"] == [])
    wait_for(lambda: bool(first.of("diagnostics", level=3)))
    playing.session, playing.quiet = "another-start", False
    new = [ros_id(name, playing.session) for name in ("f1", "f2")]
    assert not set(new) & set(old)
    wait_for(lambda: bool(first.of("tracked", ids=new)))
    wait_for(lambda: bool(first.of("roi", face=new[1])))
    first.child.kill()
    second = graph.listener()
    wait_for(lambda: bool(second.of("expression", face=new[0])))
    wait_for(
        lambda: (
            all(not topic.startswith(f"/humans/faces/{old[0]}") for topic in second.of("topics")[-1]["topics"])
            if second.of("topics")
            else False
        )
    )
    bridge.terminate()
    assert bridge.wait(60) == 0
    wait_for(lambda: second.of("tracked")[-1]["ids"] == [])


def constants() -> dict[str, str]:
    """The constants of the message, from its definition."""
    lines = (MESSAGES / "Expression.msg").read_text().splitlines()
    pairs = (line.removeprefix("string ").split("=") for line in lines if "=" in line)
    return {name: value.strip('"') for name, value in pairs}


class TestMapping:
    def test_no_constant_is_invented(self) -> None:
        assert set(EXPRESSIONS.values()) <= set(constants())
        assert set(EXPRESSIONS) <= set(MAFW_CLASSES)
        unmapped = set(MAFW_CLASSES) - set(EXPRESSIONS)
        assert unmapped == {"contempt", "anxiety", "helplessness"}

    @pytest.mark.parametrize("label", ["contempt", "anxiety", "helplessness", "something new", None])
    def test_what_has_no_constant_is_empty(self, label: str | None) -> None:
        seen = face(20)
        seen.label = label
        told = expression_of(seen)
        assert told is not None
        assert (told.constant, told.confidence) == ("", 0.0)
        assert expression_of(face(3)) is None

    @pytest.mark.parametrize(
        ("name", "token"), [("f1", "f1_12ab34"), ("7", "f7_12ab34"), ("a-b.c/", "a_b_c__12ab34"), ("", "f_12ab34")]
    )
    def test_ids_are_tokens_of_topics(self, name: str, token: str) -> None:
        assert ros_id(name, "12ab-34cd-…") == token

    def test_a_lost_face_leaves_the_list_at_once_and_its_topics_a_second_later(self) -> None:
        humans, message = Humans155(), faces("c", "s", 1, 30.0)
        message.faces = two(0)
        first, second = (each.id for each in humans.step(message, 0).faces)
        message.faces = two(0)[:1]
        assert [each.id for each in humans.step(message, LINGER_NS - 1).faces] == [first]
        assert humans.step(message, LINGER_NS).gone == [second]
        assert humans.step(message, 9 * LINGER_NS).gone == []
        message.faces[0].state = "lost"
        assert humans.step(message, 9 * LINGER_NS + 1).faces == []
        assert humans.step(None, 10 * LINGER_NS).gone == [first]

    def test_diagnostics_say_what_is_wrong(self) -> None:
        well = status("c", "s", 1, 30.0)
        assert diagnostics(well)[:2] == ("OK", "ok")
        assert diagnostics(replace(well, camera="no_camera", note="gone"))[:2] == ("ERROR", "camera no_camera: gone")
        assert diagnostics(replace(well, state="degraded", degraded=["thermal"]))[:2] == ("WARN", "degraded, thermal")
        assert ("rate out (Hz)", "30") in diagnostics(well)[2]


def test_without_ros_it_is_one_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setitem(sys.modules, "rclpy", None)
    assert main(["bridge", "ros2"]) == 2
    error = capsys.readouterr().err
    assert "this needs rclpy" in error
    assert "setup.bash" in error
    assert len(error.splitlines()) == 1
