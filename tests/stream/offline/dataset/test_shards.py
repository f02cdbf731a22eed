"""Shards and their manifest: however a run is cut off, every input is in one shard, once."""

from __future__ import annotations

import json
import os
import random
import resource
import signal
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from stream.offline import ScoreError
from stream.offline.dataset.manifest import Manifest, staged
from stream.offline.dataset.shards import ShardWriter
from stream.offline.inputs import Item, Problem, plan
from stream.offline.protocol import Scored
from stream.offline.storage import Store
from stream.offline.table import finish

LABELS = ("neutral", "happiness")
ROW = {
    "path": "",
    "t_s": 0.5,
    "frame_id": 3,
    "face": "f1",
    "box": [1, 2, 3, 4.5],
    "ready": True,
    "probs": {"neutral": 0.25},
}


def items_of(count: int, stamp: str = "1") -> list[Item]:
    return [Item("video" if n % 3 else "stills", f"{n}.mp4", f"{n}.mp4", (), stamp) for n in range(count)]


def rows_for(item: Item, most: int = 3) -> bytes:
    count = int(item.path.split(".")[0]) % (most + 1)
    return b"".join(json.dumps({**ROW, "path": item.path, "frame_id": n}).encode() + b"\n" for n in range(count))


def scored(number: int, item: Item) -> Scored:
    lines = rows_for(item).count(b"\n")
    return Scored(number, lines, () if lines else (Problem(item.path, "no face"),), 2.0, "0" * 64)


def work(url: str, items: list[Item], folder: Path, chance: random.Random | None = None) -> int:
    """A run that ends at any moment; gives how many items it found done."""
    manifest = Manifest(Store(url), resume=True, overwrite=False)
    try:
        manifest.begin("print", "model", LABELS, items)
        before = len(manifest.done)
        writer = ShardWriter(manifest.store, LABELS)
        left = [item for item in items if item.key not in manifest.done]
        for number, item in enumerate(left):
            part = folder / f"{number}.jsonl"
            part.write_bytes(rows_for(item))
            writer.add(item, scored(number, item), 0, False, part)
            if chance is None:
                continue
            if chance.random() < 0.3:
                for shard in writer.take(everything=True):
                    if chance.random() < 0.2:
                        return before  # between writing aside and putting in place
                    manifest.place(shard)
            if chance.random() < 0.05:
                return before
        for shard in writer.take(everything=True):
            manifest.place(shard)
        writer.close()
        manifest.complete()
        return before
    finally:
        manifest.close()


def found(folder: Path) -> dict[str, int]:
    table = pq.read_table(folder / "rows")
    counts: dict[str, int] = {}
    for path in table["path"].to_pylist():
        counts[path] = counts.get(path, 0) + 1
    return counts


@pytest.mark.parametrize("seed", range(6))
def test_however_a_run_is_cut_off_every_input_is_in_one_shard_once(seed: int, tmp_path: Path) -> None:
    chance, items = random.Random(seed), items_of(40)
    out = tmp_path / "set"
    for _ in range(12):
        work(str(out), items, tmp_path, chance)
    assert work(str(out), items, tmp_path) > 0
    wanted = {item.path: lines for item in items if (lines := rows_for(item).count(b"\n"))}
    assert found(out) == wanted
    inputs = pq.read_table(out / "inputs.parquet").to_pylist()
    assert sorted(row["input"] for row in inputs) == sorted(item.key for item in items)
    assert sum(row["rows"] for row in inputs) == sum(wanted.values())
    assert {row["problem"] for row in inputs if not row["rows"]} == {"no face"}
    assert not (out / "staging").exists()


def test_any_store_of_fsspec_holds_the_same(tmp_path: Path) -> None:
    items = items_of(9)
    work("memory://set", items, tmp_path)
    assert work("memory://set", items, tmp_path) == 9
    names = [name for name, _, _ in Store("memory://set").files("rows", ".parquet")]
    assert {name.split("/")[1] for name in names} == {"kind=video", "kind=stills"}


def test_rows_of_a_shard_are_those_of_one_parquet_file(tmp_path: Path) -> None:
    items = items_of(8)
    work(str(tmp_path / "set"), items, tmp_path)
    (tmp_path / "all.jsonl").write_bytes(b"".join(map(rows_for, items)))
    finish(tmp_path / "all.jsonl", tmp_path / "all.parquet", "parquet", LABELS)
    one = pq.read_table(tmp_path / "all.parquet")
    keys = [("path", "ascending"), ("frame_id", "ascending")]
    many = pq.read_table(tmp_path / "set" / "rows").select(one.column_names)
    assert serialised(many.sort_by(keys)) == serialised(one.sort_by(keys))


def serialised(table: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema.remove_metadata()) as writer:
        writer.write_table(table.replace_schema_metadata(None).combine_chunks())
    return bytes(sink.getvalue())


def test_another_model_a_changed_file_and_a_second_writer_are_refused(tmp_path: Path) -> None:
    items = items_of(4)
    out = str(tmp_path / "set")
    work(out, items, tmp_path)
    with pytest.raises(ScoreError, match="--resume goes on"):
        Manifest(Store(out), resume=False, overwrite=False)
    first = Manifest(Store(out), resume=True, overwrite=False)
    with pytest.raises(ScoreError, match="another run"):
        Manifest(Store(out), resume=True, overwrite=False)
    with pytest.raises(ScoreError, match="another model"):
        first.begin("other", "model", LABELS, items)
    first.close()
    with Path(tmp_path, "0.mp4").open("wb") as clip:
        clip.write(b"x")
    changed = [Item("video", "0.mp4", str(tmp_path / "0.mp4"), (), "2"), *items[1:]]
    again = Manifest(Store(out), resume=True, overwrite=False)
    with pytest.raises(ScoreError, match="changed since"):
        again.begin("print", "model", LABELS, changed)
    again.close()
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "precious.txt").write_text("mine")
    with pytest.raises(ScoreError, match="holds other files"):
        Manifest(Store(str(tmp_path / "other")), resume=False, overwrite=True)
    assert (tmp_path / "other" / "precious.txt").read_text() == "mine"


def test_the_run_that_began_last_is_the_one_that_writes(tmp_path: Path) -> None:
    """In an object store nothing can be locked."""
    first = Manifest(Store("memory://fenced"), resume=True, overwrite=False)
    first.begin("print", "model", LABELS, [])
    writer = ShardWriter(first.store, LABELS)
    part = tmp_path / "part"
    item = items_of(2)[1]
    part.write_bytes(rows_for(item))
    writer.add(item, scored(0, item), 0, False, part)
    (shard,) = writer.take(everything=True)
    second = Manifest(Store("memory://fenced"), resume=True, overwrite=False)
    second.begin("print", "model", LABELS, [])
    with pytest.raises(ScoreError, match="another run"):
        first.place(shard)
    assert not list(second.store.files("rows"))


def test_a_file_that_was_only_copied_counts_as_scored(tmp_path: Path) -> None:
    clip = tmp_path / "a.mp4"
    clip.write_bytes(b"frames")
    out = str(tmp_path / "set")
    (item,) = plan([str(clip)], faces=False).items
    manifest = Manifest(Store(out), resume=True, overwrite=False)
    manifest.begin("print", "model", LABELS, [item])
    writer = ShardWriter(manifest.store, LABELS)
    part = tmp_path / "part"
    part.write_bytes(b"")
    import hashlib

    sha256 = hashlib.sha256(b"frames").hexdigest()
    writer.add(item, Scored(0, 0, (), 0.0, sha256), 0, False, part)
    for shard in writer.take(everything=True):
        manifest.place(shard)
    manifest.close()
    os.utime(clip, ns=(1, 1))
    (later,) = plan([str(clip)], faces=False).items
    assert later.stamp != item.stamp
    again = Manifest(Store(out), resume=True, overwrite=False)
    again.begin("print", "model", LABELS, [later])
    assert list(again.done) == [item.key]
    again.close()


def test_a_full_disk_is_one_error_and_leaves_nothing_half_written(tmp_path: Path) -> None:
    out = tmp_path / "set"
    manifest = Manifest(Store(str(out)), resume=False, overwrite=False)
    manifest.begin("print", "model", LABELS, [])
    writer = ShardWriter(manifest.store, LABELS)
    item = items_of(2)[1]
    part = tmp_path / "part"
    part.write_bytes(rows_for(item))
    writer.add(item, scored(0, item), 0, False, part)
    # What a full disk does, without filling one: no file may grow beyond this.
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    old = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (100, before[1]))
        with pytest.raises(ScoreError, match="cannot be written"):
            writer.take(everything=True)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, old)
    assert not list((out / "rows").rglob("*"))
    assert not [path for path in (out / "staging").rglob("*") if path.is_file()]
    manifest.close()


def test_a_shard_waits_where_nobody_reads() -> None:
    from stream.offline.dataset.manifest import Shard

    assert staged(Shard("rows/kind=video/part-1.parquet", (), ())) == "staging/part-1.parquet"
