from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from stream.cli import main
from stream.commands import bench

ROOT = Path(__file__).resolve().parents[3]


def test_bench_reports_the_daemon_it_started(small_bundle: Callable[[str], Path], tmp_path: Path) -> None:
    command = [sys.executable, "-m", "stream.cli", "bench", "--json", "--bundle", str(small_bundle("frames"))]
    command += ["--frames", "60", "--seconds", "4", "--out", str(tmp_path / "bench.json")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=200, check=False)
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report == json.loads((tmp_path / "bench.json").read_text())
    unpaced, paced = report["cases"]
    assert (unpaced["messages"], unpaced["dropped"]) == (30, 0)
    assert 0 < paced["fps"] <= 31
    for case in report["cases"]:
        assert case["peak_mb"] > 50
        assert case["first_score_s"] > 0
        assert case["cpu_ms"] > 0
        for stage in ("detect", "infer", "total"):
            assert case["stages_ms"][stage]["p50"] <= case["stages_ms"][stage]["p99"]
    assert report["machine"]["calibration_loop_ms"] > 0
    assert report["bare_encoder"][0]["p50_ms"] > 0


def test_a_camera_is_measured_at_its_own_rate_alone(
    small_bundle: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(bench, "calibration_loop_ms", lambda: 0.0)
    source = "gst://videotestsrc is-live=true ! video/x-raw,width=320,height=240,framerate=30/1 ! videoconvert"
    if shutil.which("gst-launch-1.0") is None:
        pytest.skip("gst-launch-1.0 is not installed (apt-get install gstreamer1.0-tools)")
    code = main(["bench", "--json", "--bundle", str(small_bundle("frames")), "--seconds", "6", "--source", source])
    shown = capsys.readouterr()
    assert code == 0, shown.err
    (case,) = json.loads(shown.out)["cases"]
    assert "own rate" in case["case"]
    assert case["messages"] > 10
    assert case["first_score_s"] is None  # a test picture has no face


@pytest.mark.parametrize(
    "flags",
    [("--bundle", "/nowhere"), ("--out", "/nowhere/bench.json"), ("--source", "telnet://")],
    ids=lambda f: f[0],
)
def test_what_cannot_be_measured_or_written_is_named_before_any_case(
    flags: tuple[str, str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(bench, "calibration_loop_ms", lambda: 0.0)
    assert main(["bench", *flags]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert flags[1] in said
