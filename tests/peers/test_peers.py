"""The comparison in short: ours, and the one peer that the tests' own environment holds."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from stream.camera import demo_clip_path
from tests.peers.__main__ import main
from tests.peers.environments import WORKERS, CannotRun
from tests.peers.figures import Segment, label_delays, row, switches_per_s
from tests.peers.measure import Run, run
from tests.peers.peers import PEERS, Start


def test_ours_and_a_peer_are_measured_and_the_others_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("mediapipe", reason="mediapipe 0.10.14 has no wheel above Python 3.12")
    # No model of anybody's is at hand, and no index is asked: such a peer is listed with the reason.
    monkeypatch.setenv("DFER_SHARED_DATA", str(tmp_path / "none"))
    peers = ["mediapipe-efficientnet", "hsemotion-onnx"]
    done = main(
        [
            "--here",
            "--rounds",
            "1",
            "--frames",
            "75",
            "--clips",
            str(demo_clip_path()),
            "--out",
            str(tmp_path),
            "--peers",
            *peers,
        ]
    )
    assert done == 0
    report = json.loads((tmp_path / "peers.json").read_text("utf-8"))
    ours, peer = report["rows"]
    assert (ours["name"], peer["name"]) == ("dferstream", "mediapipe-efficientnet")
    for measured in (ours, peer):
        assert measured["cpu_ms"] > 0
        assert measured["peak_mb"] > 50
        assert measured["first_label_s"] > 0
    assert ours["ratio"] == 1
    assert peer["ratio"] == pytest.approx(ours["cpu_ms"] / peer["cpu_ms"], rel=0.01)
    assert peer["switches"] is None  # random weights: speed only
    assert "DFER_SHARED_DATA" in report["missing"]["hsemotion-onnx"]
    text = (tmp_path / "peers.md").read_text("utf-8")
    assert text.strip() == capsys.readouterr().out.strip()
    assert "| clip.mp4 | dferstream |" in text
    assert "deepface: fetches its weights" in text
    assert (tmp_path / "peers.png").read_bytes().startswith(b"\x89PNG")


def test_a_program_that_fails_says_why(tmp_path: Path) -> None:
    script = tmp_path / "failing.py"
    script.write_text("print('{\"label\": null}')\nraise ValueError('no such model')\n")
    with pytest.raises(CannotRun, match=r"ended with 1 after 1 frames: ValueError: no such model"):
        run(Start([sys.executable, str(script)]), 40, 40)


def test_processor_time_of_children_counts_and_that_of_the_warm_frames_does_not(tmp_path: Path) -> None:
    script = tmp_path / "worker.py"
    script.write_text(
        "import subprocess, sys, time\n"
        "def burn(seconds):\n"
        "    while time.process_time() < seconds: pass\n"
        "burn(0.6)\n"
        "print('not a frame', flush=True)\n"
        'for index in range(31): print(\'{"label": "fear"}\', flush=True)\n'
        "child = 'import time\\nwhile time.process_time() < 0.5: pass'\n"
        "subprocess.run([sys.executable, '-c', child])\n"
        "for index in range(9): print('{\"label\": null}', flush=True)\n"
    )
    made = run(Start([sys.executable, str(script)]), 40, 35)
    assert made.labels == ["fear"] * 31 + [None] * 4
    assert made.start_cpu_s >= 0.55
    assert 50 <= made.cpu_ms < 85  # 0.5 s and an interpreter, over ten frames


def test_delays_and_switches_of_labels() -> None:
    labels = ["neutral"] * 12 + [None] * 3 + ["happiness"] * 10 + ["fear"] * 5
    segments = [Segment("happiness", 1.0, 2.4), Segment("sadness", 2.4, 3.0)]
    assert label_delays(labels, segments, 10) == [pytest.approx(0.5), None]
    assert switches_per_s(labels, 10) == pytest.approx(2 / 3)
    assert switches_per_s([], 10) == 0
    runs = [Run(cpu_ms, 30, first, 1, 100, labels) for cpu_ms, first in ((2, 1.5), (4, None), (3, 1.2))]
    ours = [Run(cpu_ms, 30, 1, 1, 100, labels) for cpu_ms in (1, 1, 1)]
    made = row("it", "clip", runs, ours, 7, segments, 10)
    assert (made.cpu_ms, made.ratio, made.first_label_s, made.install_mb) == (3, 0.333, 1.2, 7)
    assert (made.found, made.delay_s, made.switches) == ((1, 2), 0.5, 0.67)
    assert row("it", "clip", runs, ours, None, None, 10).switches is None


def test_every_worker_is_there_and_can_be_read() -> None:
    for peer in PEERS:
        worker = WORKERS / peer.worker
        if worker.suffix == ".py":
            compile(worker.read_text("utf-8"), str(worker), "exec")
    scripts = sorted(WORKERS.glob("*.mjs"))
    assert scripts
    for script in scripts:
        try:
            done = subprocess.run(["node", "--check", str(script)], capture_output=True, text=True, timeout=60)
        except FileNotFoundError:
            pytest.skip("node is not installed (apt-get install nodejs)")
        assert done.returncode == 0, done.stderr
