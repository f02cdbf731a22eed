"""What commands do when the system refuses: one line, the exit code of an error, no traceback."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from engine.console import explain, guarded, stoppable

BUNDLE = Path(__file__).parents[2] / "stream" / "default_model"
COMMANDS = {
    "dfer-stream config": ("stream.cli", "config", "show"),
    "dfer-stream doctor": ("stream.cli", "doctor"),
    "dfer-engine inspect": ("engine.cli", "inspect", str(BUNDLE)),
    "dfer-train inspect": ("train.cli", "inspect", "tg-dfer", "--encoder", "tiny"),
}


@pytest.mark.parametrize("name", COMMANDS)
def test_a_full_disk_under_the_output_is_one_line(name: str) -> None:
    command = [sys.executable, "-m", *COMMANDS[name]]
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, timeout=120)
    assert done.returncode in (1, 2)
    assert done.stderr.startswith(f"{name}: No space left on device; free some space")
    assert done.stderr.count("\n") == 1


# dfer-train prints through rich, which ends such a process itself, as silently, with 1.
@pytest.mark.parametrize("name", [name for name in COMMANDS if not name.startswith("dfer-train")])
def test_a_reader_that_has_seen_enough_is_no_error(name: str) -> None:
    readable, writable = os.pipe()
    os.close(readable)
    try:
        done = subprocess.run(
            [sys.executable, "-m", *COMMANDS[name]], stdout=writable, stderr=subprocess.PIPE, text=True, timeout=120
        )
    finally:
        os.close(writable)
    assert (done.returncode, done.stderr) == (0, "")


def _raises(error: OSError) -> Callable[[], int]:
    def command() -> int:
        raise error

    return command


def test_another_broken_pipe_is_an_error(capsys: pytest.CaptureFixture[str]) -> None:
    # A process of ours that died must not look like a reader that left.
    assert guarded("dfer-test", _raises(BrokenPipeError(errno.EPIPE, "Broken pipe"))) == 2
    assert capsys.readouterr().err == "dfer-test: Broken pipe\n"


def test_the_line_names_the_place_and_the_remedy() -> None:
    assert explain(PermissionError(errno.EACCES, "Permission denied", "/srv/x")).startswith(
        "Permission denied: /srv/x; this user may not"
    )
    moved = OSError(errno.EROFS, "Read-only file system", "/a", None, "/b")
    assert explain(moved).startswith("Read-only file system: /b; that file system")
    assert explain(OSError("odd")) == "odd"


def test_a_full_disk_promises_whole_files_and_not_whole_lines() -> None:
    full = "No space left on device"
    assert explain(OSError(errno.ENOSPC, full, "/srv/x")).endswith("nothing was left half-written")
    assert explain(OSError(errno.ENOSPC, full)).endswith("the last line may be cut off")


def test_a_commands_own_exit_code_is_kept() -> None:
    assert guarded("dfer-test", lambda: 7) == 7


def test_an_interruption_is_one_line_with_what_it_left(capsys: pytest.CaptureFixture[str]) -> None:
    def plain() -> int:
        raise KeyboardInterrupt

    def worded() -> int:
        with stoppable(lambda: "stopped with 2 of 5 scored"):
            return plain()

    assert guarded("dfer-test score", plain) == 130
    assert guarded("dfer-test score", worded) == 130
    assert capsys.readouterr().err == "dfer-test score: stopped\ndfer-test score: stopped with 2 of 5 scored\n"
