"""Record, replay and export through real processes: a publisher that feeds, a recorder, a subscriber."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import zmq

from stream.publish.publisher import Publisher
from stream.publish.wire import decode_picture, encode_picture
from stream.recording.mcap_file import McapFile
from stream.recording.reading import McapReader
from tests.stream.recording.wire import BEGUN_NS, frame
from tests.waiting import wait_for

ROOT = Path(__file__).resolve().parents[3]
Feed = Callable[..., tuple[str, "subprocess.Popen[str]"]]


@pytest.fixture
def start() -> Iterator[Callable[..., subprocess.Popen[str]]]:
    started: list[subprocess.Popen[str]] = []

    def run(*args: object) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "stream.cli", *map(str, args)]
        environ = {**os.environ, "PYTHONPATH": str(ROOT)}
        started.append(
            subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environ
            )
        )
        return started[-1]

    yield run
    for child in started:
        child.kill()
        child.communicate()


Start = Callable[..., "subprocess.Popen[str]"]


def done(child: subprocess.Popen[str]) -> tuple[int, str, str]:
    out, err = child.communicate(timeout=120)
    return child.returncode, out, err


def made(path: Path, count: int = 90, gap: int = 0) -> list[bytes]:
    """A recording of some seconds; gives its faces bodies."""
    file, bodies = McapFile(path, BEGUN_NS), []
    for seq in range(count):
        body = frame(seq, "happiness" if seq < count // 2 else "sadness").partition(b" ")[2]
        file.write("faces/cam1", body, BEGUN_NS + seq * 33_333_333)
        bodies.append(body)
    file.close()
    return bodies


def test_what_is_recorded_is_what_a_subscriber_heard(tmp_path: Path, feed: Feed, start: Start) -> None:
    endpoint, _ = feed(f"ipc://{tmp_path}/a.ipc")
    with zmq.Context() as context, context.socket(zmq.SUB) as live:
        live.setsockopt(zmq.RCVTIMEO, 60_000)
        live.subscribe(b"")
        live.connect(endpoint)
        recorder = start("record", tmp_path / "x.mcap", "--endpoint", endpoint)
        heard: list[bytes] = []

        def recorded() -> int:
            while live.poll(0):
                heard.append(live.recv())
            path = tmp_path / "x.mcap"
            return path.stat().st_size if path.exists() else 0

        wait_for(lambda: recorded() > 10_000)
        recorder.send_signal(signal.SIGTERM)
        code, _, err = done(recorder)
        assert code == 0, err
        reader = McapReader(tmp_path / "x.mcap")
        kept = [message.frame for message in reader]
        assert reader.cut is None
        wait_for(lambda: recorded() >= 0 and kept[-1] in heard)
    assert f"{len(kept)} messages in" in err
    first = heard.index(kept[1])  # the first is a status that was kept for new subscribers
    assert [each for each in heard[first:] if not each.startswith(b"status/")][: len(kept) - 20] == [
        each for each in kept[1:] if not each.startswith(b"status/")
    ][: len(kept) - 20]
    assert {each.partition(b"/")[0] for each in kept} == {b"faces", b"status", b"event"}


@pytest.mark.parametrize("seed", range(3))
def test_a_recorder_that_is_killed_leaves_every_whole_chunk(
    tmp_path: Path, feed: Feed, start: Start, seed: int
) -> None:
    endpoint, _ = feed(f"ipc://{tmp_path}/a.ipc")
    recorder = start("record", tmp_path / "folder", "--endpoint", endpoint)

    def size() -> int:
        return sum(path.stat().st_size for path in (tmp_path / "folder").glob("*.mcap"))

    wait_for(lambda: size() > 12_000 + 9_000 * seed)
    recorder.kill()
    recorder.wait()
    kept = []
    for path in sorted((tmp_path / "folder").iterdir()):
        reader = McapReader(path)
        kept += [message.body for message in reader if message.kind == "faces"]
    assert reader.cut is not None  # of the last part
    sequence = [int(body.partition(b'"seq":')[2].partition(b",")[0]) for body in kept]
    assert len(sequence) > 30
    assert sequence == sorted(set(sequence))


def test_a_replay_is_the_recording_byte_for_byte_twice(tmp_path: Path, start: Start) -> None:
    bodies = made(tmp_path / "x.mcap")
    printed = [done(start("replay", tmp_path / "x.mcap", "--json")) for _ in range(2)]
    assert printed[0] == printed[1] == (0, "".join(body.decode() + "\n" for body in bodies), "")
    with zmq.Context() as context, context.socket(zmq.SUB) as live:
        live.setsockopt(zmq.RCVTIMEO, 60_000)
        live.subscribe(b"faces/cam1 ")
        live.connect(f"ipc://{tmp_path}/a.ipc")
        replay = start("replay", tmp_path / "x.mcap", "--bind", f"ipc://{tmp_path}/a.ipc", "--wait", "--speed", "4")
        assert [live.recv() for _ in bodies] == [b"faces/cam1 " + body for body in bodies]
        assert done(replay)[0] == 0


def test_a_replay_in_steps_waits_for_enter(tmp_path: Path, start: Start) -> None:
    bodies = made(tmp_path / "x.mcap", 3)
    with zmq.Context() as context, context.socket(zmq.SUB) as live:
        live.setsockopt(zmq.RCVTIMEO, 60_000)
        live.subscribe(b"")
        live.connect(f"ipc://{tmp_path}/a.ipc")
        replay = start("replay", tmp_path / "x.mcap", "--bind", f"ipc://{tmp_path}/a.ipc", "--wait", "--step")
        assert replay.stdin is not None
        for body in bodies[:2]:
            assert live.poll(100) == 0
            replay.stdin.write("\n")
            replay.stdin.flush()
            assert live.recv() == b"faces/cam1 " + body
        assert done(replay)[0] == 0


def test_a_recording_that_was_cut_is_replayed_as_far_as_it_goes_and_ends_with_1(tmp_path: Path, start: Start) -> None:
    bodies = made(tmp_path / "whole.mcap", 300)
    whole = (tmp_path / "whole.mcap").read_bytes()
    (tmp_path / "x.mcap").write_bytes(whole[: len(whole) // 2])
    code, out, err = done(start("replay", tmp_path / "x.mcap", "--json"))
    lines = out.splitlines()
    assert code == 1
    assert 0 < len(lines) < len(bodies)
    assert lines == [body.decode() for body in bodies[: len(lines)]]
    assert "whole chunks hold was read" in err
    code, _, err = done(start("export", tmp_path / "x.mcap", tmp_path / "x.csv"))
    assert code == 1
    assert f"{len(lines)} rows in" in err


def test_a_file_with_pictures_ends_at_its_quota_and_says_so(tmp_path: Path, start: Start) -> None:
    with Publisher("cam1", f"ipc://{tmp_path}/a.ipc", with_frames=True) as publisher:
        quota = ["--quota", "1M", "--with-frames"]
        recorder = start("record", tmp_path / "x.mcap", "--endpoint", publisher.endpoint, *quota)
        sent = [b"\xff\xd8" + os.urandom(40_000) for _ in range(8)]
        wait_for(lambda: publisher.counts.subscriptions + publisher.serve() >= 4)
        count = 0
        while recorder.poll() is None:
            publisher.picture(sent[count % 8], count)
            count += 1
            threading.Event().wait(0.02)
    code, _, err = done(recorder)
    assert code == 1
    assert "ended at its quota of 1000000 bytes" in err
    assert 1_000_000 <= (tmp_path / "x.mcap").stat().st_size < 6_000_000
    kept = [message.body for message in McapReader(tmp_path / "x.mcap")]
    shown = [decode_picture(body) for body in kept]
    assert kept == [encode_picture(sent[each.frame_id % 8], each.frame_id) for each in shown]
    assert len(kept) >= 20


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["record", "{}/there.mcap"], "exists and is not overwritten"),
        (["record", "{}/x.mcap", "--trigger", "camera_lost"], "--ring and --trigger keep a folder"),
        (["record", "{}/x.mcap", "--trigger", "nothing"], "trigger 'nothing' is neither an event"),
        (["record", "{}/x.mcap", "--quota", "3"], "give a size of at least 1M"),
        (["record", "{}/none/x.mcap"], "No such file or directory"),
        (["replay", "{}/none.mcap"], "cannot read"),
        (["replay", "{}/there.mcap", "--speed", "0"], "give a number above 0"),
        (["replay", "{}"], "holds no part-"),
        (["export", "{}/there.mcap", "{}/x.doc"], "is none of csv, parquet, jsonl, xdf, eaf"),
    ],
)
def test_what_will_not_do_is_refused_in_one_line(tmp_path: Path, start: Start, args: list[str], words: str) -> None:
    made(tmp_path / "there.mcap", 1)
    endpoint = ["--endpoint", f"ipc://{tmp_path}/a.ipc"] if args[0] == "record" else []
    code, out, err = done(start(*(each.format(tmp_path) for each in args), *endpoint))
    assert (code, out) == (2, "")
    assert words in err
    assert "Traceback" not in err
    assert {path.name for path in tmp_path.iterdir()} <= {"there.mcap", "none"}
