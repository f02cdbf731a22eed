"""The examples in Python, beside a live daemon that plays the demo clip with the default model."""

from __future__ import annotations

import itertools
import json
import os
import runpy
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from engine.spec import SEVEN_CLASSES
from stream.publish.message import EVENTS, FACE_REASONS, Faces
from stream.subscribe.client import Client

ROOT = Path(__file__).resolve().parents[3]
EXAMPLES = ROOT / "tests" / "subscribers"


@contextmanager
def daemon(endpoint: str) -> Iterator[subprocess.Popen[bytes]]:
    argv = [sys.executable, "-m", "stream.cli", "run", "--source", "demo://", "--bind", endpoint, "--quiet"]
    with subprocess.Popen(argv, cwd=ROOT) as child:
        try:
            yield child
        finally:
            child.kill()


@contextmanager
def example(name: str, endpoint: str) -> Iterator[Callable[[Callable[[dict[str, Any]], bool]], list[dict[str, Any]]]]:
    """An example as a process of its own, which has nothing of ours on its path; gives `until(found) -> lines`."""
    environ = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    argv = [sys.executable, "-P", str(EXAMPLES / name), endpoint] if sys.version_info >= (3, 11) else [
        sys.executable, str(EXAMPLES / name), endpoint,
    ]  # fmt: skip
    with subprocess.Popen(argv, cwd="/", env=environ, stdout=subprocess.PIPE, text=True) as child:

        def until(found: Callable[[dict[str, Any]], bool]) -> list[dict[str, Any]]:
            lines: list[dict[str, Any]] = []
            deadline = time.monotonic() + 120
            assert child.stdout is not None
            while time.monotonic() < deadline:
                lines.append(json.loads(child.stdout.readline()))
                if found(lines[-1]):
                    return lines
            raise AssertionError(f"not so within two minutes; the last was {lines[-1]}")

        try:
            yield until
        finally:
            child.kill()


def test_a_desk_robot_follows_answers_and_sleeps(tmp_path: Path) -> None:
    assert len((EXAMPLES / "desk_robot.py").read_text().splitlines()) < 80
    endpoint = f"ipc://{tmp_path}/demo.ipc"
    with example("desk_robot.py", endpoint) as until, Client(endpoint) as client, daemon(endpoint) as running:
        assert until(lambda line: line.get("act") == "wake")
        boxes: dict[int, Faces] = {}

        def hear() -> None:
            while (message := client.receive(0.0)) is not None:
                assert isinstance(message, Faces)
                boxes[message.frame_id] = message

        turns: list[dict[str, Any]] = []
        acts: set[Any] = set()

        def enough(line: dict[str, Any]) -> bool:
            hear()
            turns.extend([line] if "pan" in line else [])
            acts.add(line.get("act"))
            # It turns only while it is awake, so whoever has just seen it turn has its falling asleep still before him.
            return "pan" in line and "smile_back" in acts and len(turns) >= 6 and turns[-2]["frame"] in boxes

        until(enough)
        judged = 0
        for before, after in itertools.pairwise(turns):
            assert abs(after["pan"] - before["pan"]) <= 2.05, "it turns a little at a time"
            message = boxes.get(after["frame"])
            face = next((face for face in message.faces if face.primary), None) if message is not None else None
            if message is not None and face is not None:
                assert message.width is not None
                aim = ((face.box[0] + face.box[2] / 2) / message.width - 0.5) * 60
                assert abs(after["pan"] - aim) <= abs(before["pan"] - aim) + 0.1, "and towards the face"
                judged += 1
        assert judged
        running.kill()
        assert until(lambda line: line.get("act") == "sleep")


def test_plain_python_names_every_state(tmp_path: Path) -> None:
    endpoint = f"ipc://{tmp_path}/demo.ipc"
    with example("subscriber.py", endpoint) as until:
        assert until(lambda line: line["state"] == "silent")
        with daemon(endpoint) as running:
            lines = until(lambda line: line["state"] == "happiness")
            known = {*SEVEN_CLASSES, *FACE_REASONS, "unsure", "silent"}
            assert {line["state"] for line in lines} <= known
            running.kill()
            until(lambda line: line["state"] == "silent")


def test_the_robot_answers_only_events_that_there_are() -> None:
    acts = runpy.run_path(str(EXAMPLES / "desk_robot.py"))["ACTS"]
    assert set(acts) <= set(EVENTS)


@pytest.mark.parametrize("name", ["subscriber.py", "desk_robot.py"])
def test_an_example_needs_nothing_of_ours(name: str) -> None:
    text = (EXAMPLES / name).read_text()
    assert not [
        word for word in ("stream.", "engine.", "msgspec") if f"import {word}" in text or f"from {word}" in text
    ]
