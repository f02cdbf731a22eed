from __future__ import annotations

import json
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
        for stage in ("detect", "infer", "total"):
            assert case["stages_ms"][stage]["p50"] <= case["stages_ms"][stage]["p99"]
    assert report["machine"]["calibration_loop_ms"] > 0
    assert report["bare_encoder"][0]["p50_ms"] > 0


@pytest.mark.parametrize("flags", [("--bundle", "/nowhere"), ("--out", "/nowhere/bench.json")], ids=lambda f: f[0])
def test_what_cannot_be_measured_or_written_is_named_before_any_case(
    flags: tuple[str, str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(bench, "calibration_loop_ms", lambda: 0.0)
    assert main(["bench", *flags]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert flags[1] in said
