from __future__ import annotations

import io
import subprocess
import sys
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len
from rich.console import Console

from stream.publish.message import Event, Face, Faces, Window
from stream.publish.wire import encode
from stream.show.terminal import _COLOURS, FacesTable, TerminalConsole, bar, line, render
from stream.subscribe.meter import Measured, StreamMeter
from tests.stream.show.overlay.messages import ELEVEN, face_body, faces_body, no_camera, warming_body


def shown(message: dict[str, Any], width: int = 120, unicode: bool = True) -> list[str]:
    console = Console(record=True, width=width, file=io.StringIO(), color_system="truecolor")
    console.print(render(message, Measured(29.97, 12.34, 5), width, unicode))
    return console.export_text().splitlines()


def test_header_and_one_row_per_face() -> None:
    faces = [
        face_body("7", primary=True),
        warming_body(3, id="8"),
        face_body("9", label=None),
        face_body("5", state="lost"),
    ]
    head, titles, *rows = shown(faces_body(faces, degraded=["scheduler"]))
    for word in ("cam0", "live", "30.0 fps", "12.3 ms", "5 dropped", "degraded: scheduler", "small fp32 openvino"):
        assert word in head
    assert titles.split()[:3] == ["face", "state", "label"]
    assert len(rows) == 3
    assert rows[0].startswith("*7")
    assert all(word in rows[0] for word in ("tracked", "happiness", "80%", "16/16", "33 ms"))
    assert "warming" in rows[1]
    assert "3/16" in rows[1]
    assert "unsure" in rows[2]


def test_frame_that_is_not_to_be_believed_says_why() -> None:
    text = shown(faces_body([], valid=False, reason="no_camera"))
    assert "no camera" in text[0]
    assert "live" not in text[0]
    assert "no face" in text[1]


@pytest.mark.parametrize("width", [40, 60, 80, 100, 200])
def test_no_line_is_wider_than_the_terminal(width: int) -> None:
    faces = [face_body(str(k), label=ELEVEN[k], smoothed=dict.fromkeys(ELEVEN, 1 / 11)) for k in range(11)]
    rows = shown(faces_body(faces), width)
    assert all(cell_len(row) <= width for row in rows)
    assert sum(row.lstrip("* ").split(" ")[0].isdigit() for row in rows) == 11


def test_terminal_without_block_characters_gets_plain_ones() -> None:
    assert all(row.isascii() for row in shown(faces_body([face_body()]), unicode=False))


def test_almost_empty_messages_are_shown() -> None:
    cases: list[dict[str, Any]] = [{}, {"faces": None}, {"faces": [{}]}]
    for message in cases:
        assert shown(message)
        assert line(message, Measured())


@given(st.floats(0, 1), st.integers(1, 30), st.booleans())
def test_bar_is_as_long_as_its_share(share: float, cells: int, unicode: bool) -> None:
    text = bar(share, cells, unicode)
    assert len(text) == cells
    full = text.count("█" if unicode else "#")
    assert abs(full - share * cells) <= 1


def test_pipe_gets_one_plain_line_a_second() -> None:
    now = [0]
    out = io.StringIO()
    with FacesTable(console=Console(file=out, width=200), now_ns=lambda: now[0]) as table:
        wrote = []
        for k in range(75):
            now[0] = k * 33_333_333
            wrote.append(table.step(faces_body([face_body()], k)))
    rows = out.getvalue().splitlines()
    assert sum(wrote) == len(rows) == 3
    assert all("1: happiness 80%" in row and "\x1b" not in row for row in rows)
    assert "30.0 fps" in rows[2]


def test_terminal_is_redrawn_ten_times_a_second_and_given_back() -> None:
    now = [0]
    out = io.StringIO()
    console = Console(file=out, width=100, force_terminal=True, color_system=None)
    with FacesTable(console=console, live=True, now_ns=lambda: now[0]) as table:
        drawn = 0
        for k in range(60):
            now[0] = k * 33_333_333
            drawn += table.step(faces_body([face_body()], k))
    assert 15 <= drawn <= 21
    assert "\x1b[?25l" in out.getvalue()
    assert out.getvalue().rstrip().endswith("\x1b[?25h")


def test_dumb_terminal_gets_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "dumb")
    out = io.StringIO()
    with FacesTable(console=Console(file=out, force_terminal=True, width=120)) as table:
        table.step(faces_body([face_body()]))
    assert "happiness 80%" in out.getvalue()
    assert "\x1b[?25l" not in out.getvalue()


def test_table_has_the_overlays_colours() -> None:
    from stream.show.overlay.palette import CLASS_COLOURS

    assert {name: "#{:02x}{:02x}{:02x}".format(*colour) for name, colour in CLASS_COLOURS.items()} == _COLOURS


def test_table_needs_no_picture_library() -> None:
    code = "import sys, stream.show.terminal; sys.exit(any(m in sys.modules for m in ('cv2', 'numpy', 'zmq')))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@given(period_ms=st.integers(5, 400), count=st.integers(3, 80))
def test_meter_measures_the_rate_whatever_it_is(period_ms: int, count: int) -> None:
    meter = StreamMeter()
    for k in range(count):
        measured = meter.step(faces_body([], k, t_publish_ns=k * period_ms * 1_000_000, dropped_total=10 + k))
    assert measured.fps == pytest.approx(1000 / period_ms, rel=0.01)
    assert measured.dropped == count - 1
    assert measured.latency_p50_ms == 9.0


def test_meter_begins_anew_with_a_new_session() -> None:
    meter = StreamMeter()
    for k in range(10):
        meter.step(faces_body([], k, dropped_total=k))
    fresh = meter.step(faces_body([], 0, session="another", dropped_total=4))
    assert fresh.fps is None
    assert fresh.dropped == 0


def test_daemon_feeds_it_what_it_published() -> None:
    window = Window(16, 16, 1875.0)
    face = Face("f1", "tracked", 9, True, (1.0, 2.0, 3.0, 4.0), 0.9, True, "ok", window, label="fear", confidence=0.7)
    message = Faces(
        source="cam0",
        session="s",
        seq=0,
        frame_id=0,
        dropped_total=0,
        t_publish_ns=1,
        boot_id="b",
        valid=True,
        reason="ok",
        faces=[face],
    )
    event = Event(source="cam0", session="s", seq=0, boot_id="b", t_publish_ns=1, event="face_new", face="f1")
    out = io.StringIO()
    table = FacesTable("ipc:///run/dferstream/cam0.ipc", Console(file=out, width=100))
    assert table.take(event, encode(event))
    assert table.take(message, encode(message))
    table.close()
    said = out.getvalue().splitlines()
    assert said[0] == "publishing on ipc:///run/dferstream/cam0.ipc"
    assert "f1: fear 70%" in said[1]
    assert len(said) == 2


def test_reader_that_went_away_ends_the_run() -> None:
    class Gone(io.StringIO):
        def write(self, text: str) -> int:
            raise BrokenPipeError

    message = no_camera()
    assert not FacesTable(console=TerminalConsole(file=Gone())).take(message, encode(message))
