from __future__ import annotations

import itertools
from pathlib import Path

import psutil
import pytest

from stream.recording.folder import Keeping, RecordingFolder
from stream.recording.reading import McapReader, Recorded
from tests.stream.recording.wire import BEGUN_NS, PERIOD_NS, frame, stream

S = 1_000_000_000


def fill(folder: RecordingFolder, count: int, begin: int = 0, body: bytes = b"{}") -> int:
    log_ns = BEGUN_NS
    for seq in range(begin, begin + count):
        log_ns = BEGUN_NS + seq * PERIOD_NS
        folder.write("faces/cam1", body, log_ns)
        folder.tick(log_ns)
    return log_ns


def messages(folder: Path, prefix: str) -> list[Recorded]:
    return [message for path in sorted(folder.glob(f"{prefix}*.mcap")) for message in McapReader(path)]


def test_parts_follow_each_other_and_hold_every_message_once(tmp_path: Path) -> None:
    folder = RecordingFolder(tmp_path / "new", Keeping(part_s=2), print)
    last_ns = fill(folder, 300)
    folder.close(last_ns)
    found = messages(tmp_path / "new", "part-")
    assert [message.log_ns for message in found] == [BEGUN_NS + seq * PERIOD_NS for seq in range(300)]
    assert len(list((tmp_path / "new").iterdir())) == 5
    assert all(reader.cut is None for reader in read_all(tmp_path / "new"))


def read_all(folder: Path) -> list[McapReader]:
    readers = [McapReader(path) for path in sorted(folder.iterdir())]
    for reader in readers:
        list(reader)
    return readers


def test_a_ring_keeps_at_least_its_length_and_not_much_more(tmp_path: Path) -> None:
    folder = RecordingFolder(tmp_path, Keeping(part_s=1, ring_s=4), print)
    last_ns = fill(folder, 600)
    folder.close(last_ns)
    kept_s = (last_ns - messages(tmp_path, "part-")[0].log_ns) / S
    assert 4 <= kept_s <= 6.5


def test_a_moment_holds_what_was_before_and_after_its_trigger(tmp_path: Path) -> None:
    said: list[str] = []
    keeping = Keeping(part_s=1, ring_s=4, before_s=2, after_s=3)
    folder = RecordingFolder(tmp_path, keeping, said.append)
    fill(folder, 300)
    at_ns = BEGUN_NS + 300 * PERIOD_NS
    folder.trigger(at_ns)
    last_ns = fill(folder, 400, 300)
    folder.close(last_ns)
    found = messages(tmp_path, "moment-")
    assert abs(found[0].log_ns - (at_ns - 2 * S)) <= PERIOD_NS
    assert abs(found[-1].log_ns - (at_ns + 3 * S)) <= PERIOD_NS
    assert {b.log_ns - a.log_ns for a, b in itertools.pairwise(found)} == {PERIOD_NS}
    assert said == [f"kept {len(found)} messages in {next(tmp_path.glob('moment-*'))}"]


def test_triggers_in_a_row_make_one_moment_and_one_that_is_not_over_ends_with_the_recording(tmp_path: Path) -> None:
    folder = RecordingFolder(tmp_path, Keeping(part_s=1, ring_s=2, before_s=1, after_s=2), print)
    fill(folder, 60)
    folder.trigger(BEGUN_NS + 60 * PERIOD_NS)
    fill(folder, 30, 60)
    folder.trigger(BEGUN_NS + 90 * PERIOD_NS)
    last_ns = fill(folder, 30, 90)
    folder.close(last_ns)
    found = messages(tmp_path, "moment-")
    assert len(list(tmp_path.glob("moment-*"))) == 1
    assert 3 - 0.1 <= (found[-1].log_ns - found[0].log_ns) / S <= 3.1


def test_the_quota_holds_at_every_moment_and_what_is_deleted_is_said(tmp_path: Path) -> None:
    said: list[str] = []
    quota = 200_000
    folder = RecordingFolder(tmp_path, Keeping(part_s=600, quota_bytes=quota), said.append)
    biggest = 0
    for count, (sent, log_ns) in enumerate(stream(9000)):
        topic, _, body = sent.partition(b" ")
        folder.write(topic.decode(), body, log_ns)
        folder.tick(log_ns)
        if count % 30 == 0:
            biggest = max(biggest, sum(path.stat().st_size for path in tmp_path.iterdir()))
    folder.close(log_ns)
    assert quota / 4 < biggest <= quota
    assert said
    assert all("the folder's quota is 200000 bytes" in line for line in said)
    assert messages(tmp_path, "part-")[-1].log_ns == log_ns


def test_parts_of_a_killed_recorder_count_and_go_first(tmp_path: Path) -> None:
    before = RecordingFolder(tmp_path, Keeping(part_s=1), print)
    fill(before, 100)  # never closed
    first = min(tmp_path.iterdir())
    after = RecordingFolder(tmp_path, Keeping(part_s=1, ring_s=2), print)
    last_ns = fill(after, 300, 100)
    after.close(last_ns)
    assert not first.exists()
    assert messages(tmp_path, "part-")[-1].log_ns == last_ns


@pytest.mark.slow
def test_a_day_at_30_hz_with_a_quota_takes_bounded_disk_and_memory(tmp_path: Path) -> None:
    quota = 20_000_000
    folder = RecordingFolder(tmp_path, Keeping(part_s=600, quota_bytes=quota), lambda line: None)
    bodies = [frame(seq).partition(b" ")[2] for seq in range(97)]
    process, hour, memory = psutil.Process(), 3600 * 30, []
    for seq in range(24 * hour):
        log_ns = BEGUN_NS + seq * PERIOD_NS
        folder.write("faces/cam1", bodies[seq % 97], log_ns)
        folder.tick(log_ns)
        if seq % hour == hour - 1:
            memory.append(process.memory_info().rss)
            assert sum(path.stat().st_size for path in tmp_path.iterdir()) <= quota
    folder.close(log_ns)
    assert max(memory[1:]) < 1.1 * memory[0]
