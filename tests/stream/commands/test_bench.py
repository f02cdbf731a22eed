from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]


def test_bench_reports_the_daemon_it_started(small_bundle: Callable[[str], Path], tmp_path: Path) -> None:
    command = [sys.executable, "-m", "stream.cli", "bench", "--json", "--bundle", str(small_bundle("frames"))]
    command += ["--frames", "90", "--seconds", "4", "--out", str(tmp_path / "bench.json")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=200, check=False)
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report == json.loads((tmp_path / "bench.json").read_text())
    unpaced, paced = report["cases"]
    assert (unpaced["messages"], unpaced["dropped"]) == (60, 0)
    assert 0 < paced["fps"] <= 31
    for case in report["cases"]:
        assert case["peak_mb"] > 50
        assert case["first_score_s"] > 0
        for stage in ("detect", "infer", "total"):
            assert case["stages_ms"][stage]["p50"] <= case["stages_ms"][stage]["p99"]
    assert report["machine"]["calibration_loop_ms"] > 0
    assert report["bare_encoder"][0]["p50_ms"] > 0


@pytest.mark.parametrize("flags", [("--bundle", "/nowhere"), ("--out", "/nowhere/bench.json")], ids=lambda f: f[0])
def test_what_cannot_be_measured_or_written_is_named_before_any_case(flags: tuple[str, str]) -> None:
    command = [sys.executable, "-m", "stream.cli", "bench", *flags]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert flags[1] in done.stderr
