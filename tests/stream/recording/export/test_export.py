"""Exports read back by the libraries that labs use."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path

import pyarrow.parquet as pq
import pympi
import pytest
import pyxdf

from stream.publish.wire import encode
from stream.recording.export.elan import write_eaf
from stream.recording.export.observations import Observations
from stream.recording.export.tables import write_table
from stream.recording.export.xdf import write_xdf
from stream.recording.reading import Recorded
from tests.stream.recording.wire import LABELS, PERIOD_NS, event, faces

# A second happy, a second without a label, a second sad; then gone for two seconds, then happy again for one.
PLAN = [
    (seq, (("happiness", None, "sadness")[seq // 30] if seq < 90 else "happiness"))
    for seq in (*range(90), *range(150, 180))
]


def messages() -> Iterator[Recorded]:
    yield Recorded("event/cam1", 0, event(0, "face_new").partition(b" ")[2])  # before any time line
    for seq, label in PLAN:
        yield Recorded("faces/cam1", seq, encode(faces(seq, label)))
        if seq == 60:
            yield Recorded("event/cam1", seq, event(1, "face_new").partition(b" ")[2])
    yield Recorded("faces/cam2", 1, encode(faces(1, "sadness", source="cam2")))
    yield Recorded("faces/cam1", 1, b'{"schema": "dfer.faces/2.0"}')
    yield Recorded("status/cam1", 1, b"{}")


def t_s(seq: int) -> float:
    return seq * PERIOD_NS / 1e9


def test_a_table_has_a_row_for_each_face_and_frame(tmp_path: Path) -> None:
    observations = Observations(messages(), "cam1")
    assert write_table(observations, tmp_path / "x.csv", "csv") == 120
    assert observations.skipped == 1
    with (tmp_path / "x.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [int(row["frame_id"]) for row in rows] == [seq for seq, _ in PLAN]
    assert [row["label"] or None for row in rows] == [label for _, label in PLAN]
    assert float(rows[-1]["t_s"]) == pytest.approx(t_s(179), abs=1e-6)
    assert float(rows[0]["smoothed_happiness"]) == 0.7
    assert write_table(Observations(messages()), tmp_path / "x.parquet", "parquet") == 121
    table = pq.read_table(tmp_path / "x.parquet")
    assert table.column("path").to_pylist()[-1] == "cam2"
    assert table.column("probs_sadness").to_pylist()[0] == 0.15
    assert sorted(path.name for path in tmp_path.iterdir()) == ["x.csv", "x.parquet"]


def test_xdf_keeps_exact_times_across_a_hole_and_names_every_change(tmp_path: Path) -> None:
    assert write_xdf(Observations(messages(), "cam1"), tmp_path / "x.xdf") == 120
    streams, header = pyxdf.load_xdf(str(tmp_path / "x.xdf"))
    assert header["info"]["version"] == ["1.0"]
    by_name = {each["info"]["name"][0]: each for each in streams}
    scores, markers = by_name["cam1.f1"], by_name["cam1.markers"]
    assert [channel["label"][0] for channel in scores["info"]["desc"][0]["channels"][0]["channel"]] == list(LABELS)
    clock_s = [4.99 + t_s(seq) for seq, _ in PLAN]
    assert scores["time_stamps"].tolist() == pytest.approx(clock_s, abs=1e-9)
    assert scores["time_series"][0].tolist() == pytest.approx([0.7, 0.15, 0.15])
    assert scores["footer"]["info"]["sample_count"] == ["120"]
    assert [text for [text] in markers["time_series"]] == [
        "label f1 happiness",
        "label f1 none",
        "label f1 sadness",
        "face_new f1",
        "label f1 happiness",
    ]


def test_elan_has_an_annotation_for_as_long_as_a_label_held(tmp_path: Path) -> None:
    video = tmp_path / "a clip.mp4"
    assert write_eaf(Observations(messages(), "cam1"), tmp_path / "x.eaf", video) == 3
    found = pympi.Elan.Eaf(str(tmp_path / "x.eaf"))
    assert list(found.get_tier_names()) == ["cam1 f1"]
    ms = [round(t_s(seq) * 1000) for seq in (0, 30, 60, 89, 150, 179)]
    assert sorted(found.get_annotation_data_for_tier("cam1 f1")) == [
        (ms[0], ms[1], "happiness"),
        (ms[2], ms[3], "sadness"),
        (ms[4], ms[5], "happiness"),
    ]
    assert found.media_descriptors[0]["MEDIA_URL"].endswith("/a%20clip.mp4")
