"""``dfer-calibrate dynamic``: marked segments and rows of whatever model, side by side."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from calibration import cli
from calibration.data.segments import read_segments, read_shown
from calibration.settings import CalibrationError

SEGMENTS = """clip,t0,t1,expression,part,person,x,y
one,0,1.9,neutral,choose,ann,,
one,2,3,happiness,choose,ann,,
one,3.5,6,neutral,choose,ann,,
two,1,2,anger,check,bob,100,50
"""


@pytest.fixture
def marked(tmp_path: Path) -> Path:
    (tmp_path / "segments.csv").write_text(SEGMENTS)
    return tmp_path / "segments.csv"


def write_rows(path: Path, late_s: float, **more: Any) -> Path:
    rows: list[dict[str, Any]] = []
    for k in range(60):
        t_s = k / 10
        said = "happiness" if 2 + late_s <= t_s < 3 + late_s else "neutral"
        scores = {"neutral": 0.9, "happiness": 0.1} if said == "neutral" else {"neutral": 0.2, "happiness": 0.8}
        rows.append({"path": "clips/one.mp4", "t_s": t_s, "face": "1", "box": [0, 0, 50, 50], "label": said,
                     "now": scores} | more)  # fmt: skip
    for face, x, label in (("1", 0, "neutral"), ("2", 75, "anger")):
        rows += [
            {"path": "clips/two.mp4", "t_s": k / 10, "face": face, "box": [x, 25, 50 if x else 90, 50], "label": label}
            for k in range(30)
        ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_each_file_of_rows_is_a_line_and_gains_are_over_the_first(
    marked: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    slow, quick = write_rows(tmp_path / "slow.jsonl", 0.6), write_rows(tmp_path / "quick.jsonl", 0.1)
    assert cli.main(["dynamic", str(marked), str(slow), f"{quick}:now", "--part", "choose"]) == 0
    head, first, second = capsys.readouterr().out.splitlines()
    assert "onset, median" in head
    assert "0.60 s" in first
    assert "40.0 [40, 40]" in first
    assert "90.0 [90, 90]" in second
    assert second.endswith("time right +50 to +50 over the first")
    assert cli.main(["dynamic", str(marked), str(quick), "--json"]) == 0
    (found,) = json.loads(capsys.readouterr().out).values()
    # Of two faces the one at the marked point is meant.
    assert (found["segments"], found["shown"], found["right"]) == (2, 2, pytest.approx(19 / 20))
    assert found["restless_hz"] is None
    assert cli.main(["dynamic", str(marked), str(quick), "--each"]) == 0
    assert "one 2.00-3.00 happiness: right 9/10, none 0, switches 1, on 0.10, off 0.10" in capsys.readouterr().out


def test_what_cannot_be_read_is_named(marked: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    quick = write_rows(tmp_path / "quick.jsonl", 0.1)
    marked.write_text(SEGMENTS + "three,0,1,fear,check,cid,,\n")
    assert cli.main(["dynamic", str(marked), str(quick)]) == 2
    assert "no row of three" in capsys.readouterr().err
    for text, words in (
        ("clip,t0,t1\n", "no column 'expression'"),
        ("clip,t0,t1,expression\na,2,1,fear\n", "no stretch of time"),
        ("clip,t0,t1,expression\na,x,1,fear\n", "cannot read"),
        ("clip,t0,t1,expression\n", "marks no segment"),
    ):
        marked.write_text(text)
        with pytest.raises(CalibrationError, match=words):
            read_segments(marked)
    quick.write_text('{"path": "a", "t_s": 0}\n')
    with pytest.raises(CalibrationError, match=r"quick.jsonl:1 is no row"):
        read_shown(quick)


def test_the_marks_of_the_tree_can_be_read() -> None:
    folder = Path(__file__).parents[1] / "scenes" / "marked"
    marks = read_segments(folder / "segments.csv")
    assert {"happiness", "surprise", "sadness", "neutral"} <= {each.expression for each in marks}
    parts = {
        part: {each.person for each in read_segments(folder / "segments.csv", part)} for part in ("choose", "check")
    }
    assert not parts["choose"] & parts["check"]
