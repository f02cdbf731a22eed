"""``dfer-stream score --dataset``: the pool of this machine, real workers, and what is killed in between."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import cv2
import psutil
import pyarrow.parquet as pq
import pytest

from stream.camera.paths import demo_clip_path
from stream.cli import main
from tests.archive.rows import same_rows
from tests.waiting import wait_for

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six clips in folders by class, with equal names; two of them are the same file."""
    folder = tmp_path_factory.mktemp("archive")
    for number in range(6):
        (folder / "happiness" / f"{number}").mkdir(parents=True)
        source = cv2.VideoCapture(str(demo_clip_path()))
        source.set(cv2.CAP_PROP_POS_FRAMES, 20 * (number % 5))
        writer = cv2.VideoWriter(
            str(folder / "happiness" / f"{number}" / "clip.avi"), cv2.VideoWriter.fourcc(*"MJPG"), 15, (640, 480)
        )
        for _ in range(10):
            writer.write(source.read()[1])
        writer.release()
        source.release()
    return folder


@pytest.fixture(scope="module")
def flags(clips: Path, small_bundle: Callable[[str], Path]) -> list[str]:
    return ["score", str(clips), "--bundle", str(small_bundle("frames")), "--threads", "1", "--quiet"]


@pytest.fixture(scope="module")
def whole(flags: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Rows of all clips by one process, in one file."""
    out = tmp_path_factory.mktemp("whole") / "rows.parquet"
    assert main([*flags, "--jobs", "1", "--out", str(out)]) == 0
    return out


def start(flags: list[str]) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "stream.cli", *flags],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stderr=subprocess.PIPE,
        text=True,
    )


def test_rows_equal_the_single_process_and_a_finished_set_takes_only_what_is_new(
    clips: Path, flags: list[str], whole: Path, tmp_path: Path
) -> None:
    out = tmp_path / "set"
    few = [*flags[:1], str(clips / "happiness" / "0"), *flags[2:], "--dataset", str(out)]
    assert main(few) == 0
    first = set((out / "rows").rglob("*.parquet"))
    assert main([*flags, "--jobs", "2", "--dataset", str(out), "--resume"]) == 0
    assert first < set((out / "rows").rglob("*.parquet"))
    assert same_rows(out / "rows", whole)
    inputs = pq.read_table(out / "inputs.parquet").to_pylist()
    assert [row["rows"] for row in inputs] == [10] * 6
    assert inputs[0]["sha256"] == inputs[5]["sha256"] != inputs[1]["sha256"]


@pytest.mark.parametrize("seed", range(2))
def test_killed_at_any_moment_it_goes_on_without_a_clip_missing_or_double(
    seed: int, flags: list[str], whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    chance = random.Random(seed)
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    asked = [*flags, "--jobs", "2", "--dataset", str(tmp_path / "set"), "--resume"]
    child = start(asked)
    begun = chance.randint(1, 3)
    wait_for(lambda: child.poll() is not None or len(list(tmp_path.glob("dfer-score-*/part-*"))) >= begun)
    with psutil.Process(child.pid).oneshot():
        workers = psutil.Process(child.pid).children()
    if seed % 2:
        workers[0].send_signal(signal.SIGKILL)
    else:
        child.kill()
    _, err = child.communicate(timeout=120)
    assert child.returncode == (0 if seed % 2 else -signal.SIGKILL), err
    psutil.wait_procs(workers, 60)
    assert main(asked) == 0
    assert same_rows(tmp_path / "set" / "rows", whole)


def test_what_cannot_be_a_data_set_is_refused_in_one_line(
    flags: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("")
    out = str(tmp_path / "set")
    for more, word in (
        (["--dataset", out, "--out", "rows.jsonl"], "--out does not go with"),
        (["--ray", "auto"], "give --dataset"),
        (["--dataset", str(tmp_path / "file" / "below")], "choose another place"),
        (["--dataset", "nowhere://set"], "nowhere"),
        (["--dataset", out, "--ray", "127.0.0.1:9"], "no Ray cluster at 127.0.0.1:9: connection refused; ray start"),
        (["--dataset", out, "--ray", "ray://head:10001"], "not HOST:PORT"),
    ):
        assert main([*flags, *more]) == 2, more
        said = capsys.readouterr()
        assert len(said.err.splitlines()) == 1, said.err
        assert word in said.err
        assert not list(tmp_path.rglob("*.parquet"))
