"""Several cameras in one daemon: a real process, real captures, one of them missing and one killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from stream.publish.message import Event, Faces, Message, Status
from stream.subscribe.client import Client

ROOT = Path(__file__).resolve().parents[3]
DEADLINE_S = 120


@pytest.fixture(scope="module")
def endpoint(small_bundle: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("several")
    file = folder / "car.toml"
    file.write_text(
        '[sources]\nleft = "demo://"\nabsent = "http://127.0.0.1:9/nobody"\n[sources.right]\nuri = "demo://"\n'
        f'[publish]\nbind = "ipc://{folder}/car.ipc"\n[model]\nbundle = "{small_bundle("frames")}"\nthreads = 1\n'
    )
    command = [sys.executable, "-m", "stream.cli", "run", "--config", str(file), "--quiet"]
    with subprocess.Popen(command, cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)}) as process:
        captures[f"ipc://{folder}/car.ipc"] = process.pid
        yield f"ipc://{folder}/car.ipc"
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0


captures: dict[str, int] = {}


def heard(endpoint: str, kind: str, source: str, until: Callable[[Message], bool]) -> list[Message]:
    """Messages of one source until one is what is waited for."""
    messages: list[Message] = []
    deadline = time.monotonic() + DEADLINE_S
    with Client(endpoint, kind, source) as client:
        while time.monotonic() < deadline:
            message = client.receive(1)
            if message is not None:
                messages.append(message)
                if until(message):
                    return messages
    raise AssertionError(f"{source}: not heard in {len(messages)} messages")


def test_each_is_published_under_its_own_name_and_the_missing_one_disturbs_none(endpoint: str) -> None:
    for source in ("left", "right"):
        messages = heard(endpoint, "faces", source, lambda m: isinstance(m, Faces) and m.valid and bool(m.faces))
        assert {message.source for message in messages} == {source}
    for message in heard(endpoint, "faces", "absent", lambda m: m.seq > 0):
        assert isinstance(message, Faces)
        assert (message.source, message.valid, message.reason) == ("absent", False, "no_camera")
    everyone: set[str] = set()

    def all_heard(message: Message) -> bool:
        everyone.add(message.source)
        return len(everyone) == 3

    heard(endpoint, "status", "", all_heard)
    [*_, status] = heard(endpoint, "status", "absent", lambda m: True)
    assert isinstance(status, Status)
    assert (status.state, status.camera) == ("degraded", "no_camera")
    assert "nobody" in (status.note or "")


def test_a_capture_that_is_killed_comes_back_and_the_others_see_nothing_of_it(endpoint: str) -> None:
    pid = captures[endpoint]
    heard(endpoint, "faces", "right", lambda m: isinstance(m, Faces) and m.valid)
    [*_, before] = heard(endpoint, "status", "left", lambda m: isinstance(m, Status) and m.camera == "ok")
    assert isinstance(before, Status)
    children = [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    with Client(endpoint, "event", "right") as right, Client(endpoint, "event", "left") as left:
        # Heard from both first, or the news might come before the subscription.
        heard(endpoint, "status", "right", lambda m: True)
        os.kill(children[2], signal.SIGKILL)  # in the order in which they were started
        deadline = time.monotonic() + DEADLINE_S
        said: list[str] = []
        while "camera_ok" not in said and time.monotonic() < deadline:
            message = right.receive(1)
            said += [message.event] if isinstance(message, Event) else []
        assert [event for event in said if event.startswith("camera")] == ["camera_lost", "camera_ok"]
        [*_, after] = heard(
            endpoint, "status", "left", lambda m: isinstance(m, Status) and m.frames_total > before.frames_total
        )
        quiet: list[str] = []
        while (message := left.receive(0)) is not None:
            quiet += [message.event] if isinstance(message, Event) else []
    assert isinstance(after, Status)
    assert not [event for event in quiet if event.startswith("camera")]
    assert (after.session, after.reconnects_total, after.camera) == (before.session, before.reconnects_total, "ok")
    assert after.frames_total > before.frames_total
