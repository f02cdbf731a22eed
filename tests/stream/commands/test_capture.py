"""``dfer-stream capture``: at a real terminal, and what it refuses without one."""

from __future__ import annotations

import json
import os
import pty
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from stream.cli import main
from stream.commands.capture import Kept

ROOT = Path(__file__).resolve().parents[3]


class Terminal:
    """The command at a pseudo-terminal."""

    def __init__(self, *flags: str | Path) -> None:
        ours, theirs = pty.openpty()
        self._fd = ours
        self.said = ""
        self.child = subprocess.Popen(
            [sys.executable, "-m", "stream.cli", "capture", *map(str, flags)],
            cwd=ROOT,
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            start_new_session=True,
        )
        os.close(theirs)

    def wait_for(self, words: str) -> None:
        deadline = time.monotonic() + 120
        while words not in self.said:
            assert time.monotonic() < deadline, self.said
            assert self._hear(), self.said

    def type(self, text: str) -> None:
        os.write(self._fd, text.encode())

    def end(self) -> int:
        deadline = time.monotonic() + 120
        while self._hear():
            assert time.monotonic() < deadline, self.said
        os.close(self._fd)
        return self.child.wait(30)

    def _hear(self) -> bool:
        if not select.select([self._fd], [], [], 1.0)[0]:
            return True
        try:
            data = os.read(self._fd, 4096)
        except OSError:
            return False
        self.said += data.decode("utf-8", "replace")
        return bool(data)


def flags_of(bundle: Path) -> tuple[str | Path, ...]:
    return ("--bundle", bundle, "--source", "demo://", "--every-frame")


@pytest.mark.parametrize("cadence", ["frames", "snippets"])
def test_after_yes_the_largest_face_is_kept_and_the_banner_says_so(
    cadence: str, small_bundle: Callable[[str], Path], tmp_path: Path
) -> None:
    unit = {"frames": 1, "snippets": 4}[cadence]
    out = tmp_path / "me.npz"
    terminal = Terminal(out, "--count", "2", *flags_of(small_bundle(cadence)))
    terminal.wait_for("Type yes")
    assert "demo://" in terminal.said
    assert not out.exists()
    terminal.type("yes\n")
    assert terminal.end() == 0, terminal.said
    assert "FACES ARE BEING KEPT" in terminal.said
    with np.load(out, allow_pickle=False) as kept:
        assert kept["crops"].shape == (2, unit, 32, 32, 3)
        assert kept["crops"].dtype == np.uint8
        assert (np.diff(kept["times_s"]) > 0.1).all()
        assert json.loads(str(kept["about"]))["consent"]["answer"] == "yes"
        assert kept["crops"].std() > 10
    assert out.stat().st_mode & 0o077 == 0
    assert [path.name for path in tmp_path.iterdir()] == ["me.npz"]


def test_anything_but_yes_keeps_nothing(small_bundle: Callable[[str], Path], tmp_path: Path) -> None:
    terminal = Terminal(tmp_path / "me", *flags_of(small_bundle("frames")))
    terminal.wait_for("Type yes")
    terminal.type("y\n")
    assert terminal.end() == 2
    assert "no consent" in terminal.said
    assert not list(tmp_path.iterdir())


def test_ctrl_c_throws_everything_away(small_bundle: Callable[[str], Path], tmp_path: Path) -> None:
    terminal = Terminal(tmp_path / "me", "--count", "100000", *flags_of(small_bundle("frames")))
    terminal.wait_for("Type yes")
    terminal.type("yes\n")
    terminal.wait_for("3 of 100000")
    terminal.child.send_signal(signal.SIGINT)
    assert terminal.end() == 130
    assert "nothing was saved" in terminal.said
    assert not list(tmp_path.iterdir())


def test_pictures_go_into_a_folder_that_score_reads(small_bundle: Callable[[str], Path], tmp_path: Path) -> None:
    out = tmp_path / "me"
    terminal = Terminal(out, "--count", "3", *flags_of(small_bundle("frames")))
    terminal.wait_for("Type yes")
    terminal.type("yes\n")
    assert terminal.end() == 0, terminal.said
    assert sorted(path.name for path in out.iterdir()) == ["000000.png", "000001.png", "000002.png", "about.json"]


def test_without_a_terminal_nothing_is_captured(
    small_bundle: Callable[[str], Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    taken = tmp_path / "taken"
    taken.mkdir()
    (taken / "old.png").write_bytes(b"x")
    for out, word in ((tmp_path / "me.npz", "consent"), (taken, "exists"), (tmp_path / "a" / "b", "does not exist")):
        assert main(["capture", str(out), *map(str, flags_of(small_bundle("frames")))]) == 2
        said = capsys.readouterr().err
        assert word in said
        assert len(said.splitlines()) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["taken"]
    assert main(["capture", str(tmp_path / "me.npz"), "--yes"]) == 2


def test_a_unit_never_mixes_two_faces() -> None:
    kept = Kept(2)
    crops = [np.full((4, 4, 3), value, np.uint8) for value in range(5)]
    for face, crop in zip(("a", "b", "b", "a", "a"), crops, strict=True):
        kept.add(face, crop, float(crop[0, 0, 0]))
    assert [unit[:, 0, 0, 0].tolist() for unit in kept.units] == [[1, 2], [3, 4]]
    assert kept.times_s == [2.0, 4.0]
