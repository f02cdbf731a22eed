from __future__ import annotations

import contextlib
import io
import json
import time
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import zmq

from stream.camera.frame import Frame
from stream.publish.message import Event, Faces, Message, Status
from stream.publish.publisher import Publisher
from stream.publish.wire import decode_picture, encode
from stream.show.sinks import JpegFrames, JsonLines, Log, log_line
from stream.show.terminal import FacesTable, TerminalConsole

COMMON: dict[str, Any] = {"source": "cam0", "session": "s", "seq": 0, "boot_id": "b", "t_publish_ns": 1}
FACES = Faces(**COMMON, frame_id=3, dropped_total=0, valid=True, reason="ok")
EVENT = Event(**COMMON, event="face_new", face="f1", frame_id=3)
FRAME = Frame(np.zeros((480, 640, 3), np.uint8), 3, 1, 1, "arrival", 1)


def status(**changes: Any) -> Status:
    values: dict[str, Any] = {"t_publish_unix_ns": 1, "uptime_s": 1.0, "state": "ok", "camera": "ok", "version": "0"}
    return Status(**COMMON, **(values | changes))


def take(sink: JsonLines | JpegFrames | Log, message: Message, frame: Frame | None = None) -> bool:
    return sink.take(message, encode(message), frame)


@pytest.mark.parametrize("every_kind", [False, True])
def test_json_lines_are_the_bodies_of_faces_or_of_all(every_kind: bool) -> None:
    out = io.StringIO()
    lines = JsonLines(every_kind, out)
    for message in (FACES, status(), EVENT):
        assert take(lines, message)
    bodies = [encode(message).decode() for message in ((FACES, status(), EVENT) if every_kind else (FACES,))]
    assert out.getvalue().splitlines() == bodies


def test_a_reader_that_went_away_ends_the_run() -> None:
    out = io.StringIO()
    lines = JsonLines(out=out)
    out.close()
    assert not take(lines, FACES)
    lines.close()


def test_frames_are_small_and_no_more_than_five_a_second(tmp_path: Path) -> None:
    times_ns = iter(range(0, 1_000_000_000, 50_000_000))
    with (
        Publisher("cam0", f"ipc://{tmp_path}/a.ipc", with_frames=True) as publisher,
        zmq.Context() as context,
        context.socket(zmq.SUB) as reader,
    ):
        reader.subscribe(b"frames/cam0 ")
        reader.rcvtimeo = 20_000
        reader.connect(publisher.endpoint)
        deadline = time.monotonic() + 20
        while not publisher.serve():
            assert time.monotonic() < deadline
        frames = JpegFrames(publisher, 320, 5.0, now_ns=lambda: next(times_ns))
        for _ in range(20):
            assert take(frames, FACES, FRAME)
        assert publisher.counts.published == 5
        picture = decode_picture(reader.recv().removeprefix(b"frames/cam0 "))
    assert picture.frame_id == FRAME.seq
    image = cv2.imdecode(np.frombuffer(picture.jpeg, np.uint8), cv2.IMREAD_COLOR)
    assert image is not None
    assert image.shape == (240, 320, 3)


def test_the_journal_gets_changes_at_once_and_health_every_so_often() -> None:
    out, now_ns = io.StringIO(), 0
    log = Log(30, out, lambda: now_ns)
    for second in range(61):
        now_ns = second * 10**9
        take(log, status(state="degraded" if second == 40 else "ok", note="the lens is covered"))
        take(log, FACES, FRAME)
    take(log, EVENT)
    lines = out.getvalue().splitlines()
    assert [line.split()[2] for line in lines[:-1]] == ["state=ok", "state=ok", "state=degraded", "state=ok"]
    assert 'note="the lens is covered"' in lines[0]
    assert lines[-1] == "event=face_new source=cam0 face=f1 frame=3"


def test_a_line_of_the_log_can_be_taken_apart_again() -> None:
    out = io.StringIO()
    log_line("x", out, none=None, number=0.5, spaced="a b", quoted='say "a"', equal="a=b", empty="", many="a\nb")
    assert out.getvalue() == 'event=x number=0.5 spaced="a b" quoted="say \\"a\\"" equal="a=b" empty="" many="a b"\n'


def test_a_log_line_is_one_plain_line_whatever_is_in_it() -> None:
    out = io.StringIO()
    log_line("x", out, note="b\x1b[31m c\u202e", name="a\x85b")
    assert out.getvalue() == 'event=x note="b\\x1b[31m c\\u202e" name="a\\x85b"\n'


def test_a_full_disk_under_the_log_or_the_table_does_not_end_the_run() -> None:
    with Path("/dev/full").open("w") as full:
        log_line("x", full)
        assert take(Log(out=full), EVENT)
        faces = FacesTable(console=TerminalConsole(file=full), live=False)
        assert faces.take(FACES, encode(FACES))
        assert faces.take(FACES, encode(FACES))
        faces.close()
        with contextlib.suppress(OSError):
            full.close()


def test_a_json_line_shows_no_escape_and_keeps_its_values() -> None:
    out = io.StringIO()
    said = status(note="a\x85b\u202ec")
    assert take(JsonLines(True, out), said)
    assert out.getvalue()[:-1].isprintable()
    assert json.loads(out.getvalue())["note"] == "a\x85b\u202ec"
