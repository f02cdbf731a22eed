"""The fault matrix and the soak, shortened: real programs and faults; in full by ``make faults`` and ``make soak``."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.faults.judge import judge
from tests.faults.matrix import losses
from tests.faults.observer import Body
from tests.faults.programs import ROOT
from tests.faults.soak import running, soak

# What each program does for itself, and what only the whole chain can show.
CELLS = ("kill:capture", "full:recorder", "clock:daemon", "host:daemon", "slow:subscriber")
_S = 1_000_000_000


@pytest.mark.timeout(600)
def test_every_part_comes_back_and_what_is_lost_is_said(small_bundle: Callable[[str], Path]) -> None:
    flags = ["--seeds", "1", "--bundle", str(small_bundle("frames")), "--cells", *CELLS]
    command = [sys.executable, "-m", "tests.faults.matrix", *flags]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=570, check=False)
    runs = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    assert len(runs) == len(CELLS), done.stderr
    # How long each took is for the command to judge, on a machine with nothing else to do.
    assert all(run["impossible"] or run["recovery_s"] is not None for run in runs), runs
    assert [run["silent"] for run in runs] == [0] * len(CELLS), runs
    assert "| kill -9 |" in done.stdout


def test_a_daemon_lives_through_faults_as_it_was(small_bundle: Callable[[str], Path], tmp_path: Path) -> None:
    with running(2, 5.0, tmp_path, small_bundle("frames"), together=False) as rig:
        samples = soak(rig, 12.0, 2.5, 3, lambda sample: None)
    assert len(samples) >= 3
    for sample in samples:
        assert sample.starts == [1, 1]
        assert sample.children == [1, 1]


def body(seq: int, t_ns: int, session: str = "a") -> Body:
    return Body(session=session, seq=seq, t_publish_ns=t_ns)


def test_losses_are_told_apart() -> None:
    heard = [body(seq, seq * _S // 10) for seq in range(100) if seq not in (30, 31, 60, 61, 62)]
    assert losses(heard, 0, 0, []).gaps == 5
    # Between 59 and 63 the reader was started anew.
    found = losses(heard, 0, 6 * _S, [6 * _S + 1])
    assert (found.gaps, found.outage, found.old) == (2, 3, 0)
    assert losses(heard, 4 * _S, 6 * _S, []).gaps == 3
    # A fault 3 s after the reader had last kept anything.
    assert losses(heard, 4 * _S, 9 * _S, [9 * _S, 6 * _S + 1]).old > 0
    assert losses([body(5, _S), body(0, 2 * _S, "b")], 0, 0, []).gaps == 0


def sampled(rss: Callable[[float], float], fds: Callable[[float], int], starts: int = 1) -> dict[str, Any]:
    chances = np.random.default_rng(0)
    return judge(
        [
            {
                "t_s": t_s,
                "healed_s": 0.5,
                "rss_mb": [rss(t_s) + chances.normal(0, 0.1)],
                "descriptors": [fds(t_s)],
                "threads": [17],
                "children": [1],
                "starts": [starts],
            }
            for t_s in np.arange(10.0, 3600.0, 10.0)
        ]
    )


def test_growth_is_noticed_and_noise_is_none() -> None:
    assert sampled(lambda t_s: 240.0, lambda t_s: 25)["holds"]
    assert sampled(lambda t_s: 240.0 + min(t_s, 600.0) / 100, lambda t_s: 25)["holds"]  # while it warms up
    assert not sampled(lambda t_s: 240.0 + t_s / 3600, lambda t_s: 25)["holds"]  # 1 MB an hour
    assert not sampled(lambda t_s: 240.0, lambda t_s: 25 + int(t_s > 3000))["holds"]
    assert not sampled(lambda t_s: 240.0, lambda t_s: 25, starts=2)["holds"]
