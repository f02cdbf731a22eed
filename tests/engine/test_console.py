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
from engine.errors import DferError

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


def test_an_error_that_holds_escapes_and_line_breaks_is_one_plain_line(capsys: pytest.CaptureFixture[str]) -> None:
    def command() -> int:
        raise DferError("no file a\x1b[31m\nb", "look")

    assert guarded("dfer-test", command) == 2
    assert guarded("dfer-test", _raises(FileNotFoundError(errno.ENOENT, "No such file", "/a\nb"))) == 2
    assert capsys.readouterr().err == "dfer-test: no file a\\x1b[31m\\nb; look\ndfer-test: No such file: /a\\nb\n"


CLOSED = """
import os, sys
from engine.console import Exit, guarded, open_streams
open_streams()
names = [os.readlink(f"/proc/self/fd/{number}") for number in range(3)]
def command():
    print("said", file=getattr(sys, sys.argv[1]))
    return Exit.DONE if os.open("/dev/zero", os.O_RDONLY) > 2 else 9
code = guarded("dfer-test", command)
"/dev/null" in names or sys.exit(8)
sys.exit(code)
"""


@pytest.mark.parametrize("closed", [[0], [1], [2], [1, 2], [0, 1, 2]])
@pytest.mark.parametrize("used", ["stdout", "stderr"])
def test_a_closed_stream_is_never_taken_by_a_file(closed: list[int], used: str) -> None:
    shell = " ".join(f"{number}>&-" for number in closed)
    done = subprocess.run(
        ["bash", "-c", f'exec "$0" "$@" {shell}', sys.executable, "-c", CLOSED, used],
        capture_output=True, text=True, timeout=60, env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
    )  # fmt: skip
    lost = used == "stdout" and 1 in closed
    assert done.returncode == (2 if lost else 0), done.stderr
    assert "Traceback" not in done.stderr
    if lost and 2 not in closed:
        assert done.stderr.startswith("dfer-test: Bad file descriptor; standard output is closed")


def test_a_full_disk_under_the_errors_changes_no_exit_code() -> None:
    program = (
        "import sys; from engine.console import guarded; from engine.text import say; from engine.errors import *\n"
    )
    program += "def command():\n    raise DferError('x')\nsys.exit(guarded('dfer-test', command))"
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run([sys.executable, "-c", program], stderr=full, timeout=60)
    assert done.returncode == 2


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
