"""Whether two sets of rows are the same, byte for byte, in whatever order."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

_KEYS = [(name, "ascending") for name in ("path", "member", "frame_id", "face")]


def same_rows(one: Path, other: Path) -> bool:
    """Whether a file or data set of rows holds the same bytes as another, once both are sorted."""
    return serialised(one) == serialised(other)


def serialised(rows: Path) -> bytes:
    """The rows, sorted, as Arrow lays them out."""
    table = pq.read_table(rows)
    if "kind" in table.column_names:  # which is the folder's name
        table = table.drop_columns("kind")
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema.remove_metadata()) as writer:
        writer.write_table(table.sort_by(_KEYS).replace_schema_metadata(None).combine_chunks())
    return bytes(sink.getvalue())
