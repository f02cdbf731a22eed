from __future__ import annotations

import json
import random
import struct
import subprocess
import sys
import tracemalloc
import zlib
from pathlib import Path

import jsonschema
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st
from mcap.reader import make_reader

from stream.recording.mcap_file import McapFile, RecordingError
from stream.recording.reading import MOST_BYTES, McapReader, Recorded
from tests.stream.recording.wire import BEGUN_NS, stream

SECONDS = 8


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Recorded]]:
    path = tmp_path_factory.mktemp("recording") / "a.mcap"
    file, sent = McapFile(path, BEGUN_NS), []
    for frame, log_ns in stream(SECONDS * 30):
        topic, _, body = frame.partition(b" ")
        file.write(topic.decode(), body, log_ns)
        sent.append(Recorded(topic.decode(), log_ns, body))
    file.write("frames/cam1", b"\xff\xd8jpeg\xff\xd9", log_ns)
    sent.append(Recorded("frames/cam1", log_ns, b"\xff\xd8jpeg\xff\xd9"))
    file.close()
    return path, sent


def test_what_was_written_is_read_back_byte_for_byte(recording: tuple[Path, list[Recorded]]) -> None:
    path, sent = recording
    reader = McapReader(path)
    assert list(reader) == sent
    assert reader.cut is None
    assert SECONDS - 1 <= reader.chunks <= SECONDS + 1


def test_the_official_reader_finds_the_same_with_schemas_that_hold(recording: tuple[Path, list[Recorded]]) -> None:
    path, sent = recording
    with path.open("rb") as file:
        reader = make_reader(file, validate_crcs=True)
        summary = reader.get_summary()
        assert summary is not None
        assert summary.statistics is not None
        assert summary.statistics.message_count == len(sent)
        found = list(reader.iter_messages(log_time_order=False))
    assert [(channel.topic, message.log_time) for _, channel, message in found] == [(m.topic, m.log_ns) for m in sent]
    assert [message.data for _, channel, message in found[:-1]] == [message.body for message in sent[:-1]]
    for schema, channel, message in (found[0], found[-1]):
        assert schema is not None
        assert (schema.encoding, channel.message_encoding) == ("jsonschema", "json")
        jsonschema.validate(json.loads(message.data), json.loads(schema.data))


def test_cut_at_any_byte_it_reads_to_the_last_whole_chunk_and_says_so(
    recording: tuple[Path, list[Recorded]], tmp_path: Path
) -> None:
    path, sent = recording
    data, cut = path.read_bytes(), tmp_path / "cut.mcap"
    ends = chunk_ends(data)
    chances = random.Random(19)
    for at in [*range(9), *(chances.randrange(len(data)) for _ in range(1000)), len(data) - 1]:
        cut.write_bytes(data[:at])
        reader = McapReader(cut)
        found = list(reader)
        assert found == sent[: len(found)]
        assert reader.chunks == sum(end <= at for end in ends)
        assert len(found) == len(sent) if reader.chunks == len(ends) else len(found) < len(sent)
        if reader.cut is None:
            assert at > ends[-1]
        else:
            assert f"what {reader.chunks} whole chunks hold was read" in reader.cut


def chunk_ends(data: bytes) -> list[int]:
    """Where each chunk ends, by the specification."""
    at, ends = 8, []
    while at < len(data) - 8:
        opcode, length = struct.unpack_from("<BQ", data, at)
        at += 9 + length
        if opcode == 6:
            ends.append(at)
    return ends


def chunk_lengths(data: bytes) -> list[int]:
    ends, lengths = chunk_ends(data), []
    for end in ends:
        begin = next(
            at for at in range(8, end) if data[at] == 6 and at + 9 + struct.unpack_from("<Q", data, at + 1)[0] == end
        )
        lengths.append(end - begin)
    return lengths


def test_a_damaged_byte_is_never_a_wrong_row(recording: tuple[Path, list[Recorded]], tmp_path: Path) -> None:
    path, sent = recording
    data, damaged = path.read_bytes(), tmp_path / "damaged.mcap"
    ends = chunk_ends(data)
    chances = random.Random(7)
    heads = [end - length for end, length in zip(ends, chunk_lengths(data), strict=True)]
    for at in [*heads * 3, *(chances.randrange(8, ends[-1]) for _ in range(400))]:
        changed = bytearray(data)
        changed[at] ^= 1 << chances.randrange(8)
        damaged.write_bytes(changed)
        reader = McapReader(damaged)
        found = list(reader)
        assert found == sent[: len(found)]
        assert reader.cut is not None or len(found) == len(sent)


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=400))
def test_bytes_of_any_kind_are_read_without_a_crash(tail: bytes) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "x.mcap"
        path.write_bytes(b"\x89MCAP0\r\n" + tail)
        list(McapReader(path))


@pytest.mark.slow
@settings(max_examples=20_000, deadline=None)
@given(st.data())
def test_recordings_with_anything_in_them_are_read_without_a_crash(
    recording: tuple[Path, list[Recorded]], data: st.DataObject
) -> None:
    whole = recording[0].read_bytes()
    at = data.draw(st.integers(8, len(whole)))
    put = data.draw(st.binary(max_size=64))
    changed = recording[0].with_name("fuzzed.mcap")
    changed.write_bytes(whole[:at] + put + whole[at + data.draw(st.integers(0, 64)) :])
    found = list(McapReader(changed))
    assert found == recording[1][: len(found)]


def record(opcode: int, content: bytes) -> bytes:
    return struct.pack("<BQ", opcode, len(content)) + content


def chunk(compression: bytes, data: bytes, size: int) -> bytes:
    name = struct.pack("<I", len(compression)) + compression
    return record(6, struct.pack("<QQQI", 0, 0, size, zlib.crc32(b"")) + name + struct.pack("<Q", len(data)) + data)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (struct.pack("<BQ", 6, 1 << 60), "a record of 1152921504606846976 bytes"),
        (chunk(b"", b"", 1 << 40), "a chunk of 1099511627776 bytes"),
        (chunk(b"zstd", zstandard.compress(bytes(300 << 20)), 100), "a damaged chunk"),
        (chunk(b"zstd", b"nonsense", 100), "a damaged chunk"),
        (chunk(b"bzip9", b"x", 1), "compressed by 'bzip9'"),
        (record(6, b"short"), "a damaged record"),
    ],
    ids=["a huge record", "a huge chunk", "a bomb", "no zstd", "unknown compression", "half a chunk"],
)
def test_what_a_file_claims_is_not_believed(tmp_path: Path, content: bytes, words: str) -> None:
    path = tmp_path / "x.mcap"
    path.write_bytes(b"\x89MCAP0\r\n" + content)
    reader = McapReader(path)
    tracemalloc.start()
    assert list(reader) == []
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert reader.cut is not None
    assert words in reader.cut
    assert peak < MOST_BYTES


@pytest.mark.parametrize("content", [b"RIFF....", b"\x89MCAP1\r\n"])
def test_another_file_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "x.mcap"
    path.write_bytes(content)
    with pytest.raises(RecordingError, match="is no MCAP file"):
        McapReader(path)
    with pytest.raises(RecordingError, match="cannot read"):
        McapReader(tmp_path / "none.mcap")


FULL_DISK = """
import resource, signal, sys
from pathlib import Path
from stream.recording.mcap_file import McapFile
from tests.stream.recording.wire import BEGUN_NS, stream
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
file = McapFile(Path(sys.argv[1]), BEGUN_NS)
for frame, log_ns in stream(3000):
    topic, _, body = frame.partition(b" ")
    try:
        file.write(topic.decode(), body, log_ns)
    except OSError as error:
        print("refused", error.errno)
        break
"""


def test_where_the_disk_is_full_every_whole_chunk_stays(tmp_path: Path) -> None:
    path = tmp_path / "x.mcap"
    done = subprocess.run([sys.executable, "-c", FULL_DISK, str(path)], capture_output=True, text=True, timeout=120)
    assert done.stdout == "refused 27\n", done.stderr
    assert done.returncode == 0
    reader = McapReader(path)
    found = list(reader)
    assert reader.chunks > 3
    assert found == [
        Recorded(topic.decode(), log_ns, body)
        for frame, log_ns in stream(len(found))
        for topic, _, body in [frame.partition(b" ")]
    ]
    assert reader.cut is not None
    assert "the file ends without a summary" in reader.cut
