"""A recording as rows, one per face and frame, with the columns of ``dfer-stream score``."""

from __future__ import annotations

from pathlib import Path

from stream.offline.rows import VideoRow, encode
from stream.offline.table import finish
from stream.recording.export.observations import Observations


def write_table(observations: Observations, out: Path, kind: str) -> int:
    """Write a table.

    Args:
        observations: Of a recording.
        out: Where to; written whole.
        kind: ``jsonl``, ``csv`` or ``parquet``.

    Returns:
        How many rows it has.
    """
    rows = out.with_name(f"{out.name}.rows")
    count = 0
    try:
        with rows.open("wb") as file:
            for each in observations:
                for face in each.faces:
                    frame_id = getattr(each.message, "frame_id", 0)
                    file.write(encode(VideoRow.of(each.source, round(each.t_s, 6), frame_id, face)))
                    count += 1
        finish(rows, out, kind, observations.labels)
    finally:
        rows.unlink(missing_ok=True)
    return count
