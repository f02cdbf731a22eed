from __future__ import annotations

import os
import select
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from engine.errors import DferError
from engine.files import place_file, write_text


def test_a_link_is_kept_and_its_target_replaced_whole(tmp_path: Path) -> None:
    (tmp_path / "far").mkdir()
    target, middle, link = tmp_path / "far" / "target.txt", tmp_path / "far" / "middle", tmp_path / "link.txt"
    target.write_text("before")
    with target.open() as reader:
        middle.symlink_to("target.txt")  # relative to its own folder
        link.symlink_to(middle)
        write_text(link, "after")
        assert reader.read() == "before"  # a new file: who reads the old one reads it whole
    assert link.is_symlink()
    assert middle.is_symlink()
    assert target.read_text() == "after"
    assert sorted(p.name for p in tmp_path.rglob("*")) == ["far", "link.txt", "middle", "target.txt"]


def test_a_link_to_nothing_makes_its_target(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "new")
    write_text(tmp_path / "link", "x")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "new").read_text() == "x"


def test_a_pipe_is_written_into_and_stays_a_pipe(tmp_path: Path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    with pytest.raises(DferError, match="nobody reads it"):
        write_text(fifo, "x")
    read = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
    os.set_blocking(read, True)
    got: list[bytes] = []

    def reader() -> None:
        with os.fdopen(read, "rb") as stream:
            got.append(stream.read())

    thread = threading.Thread(target=reader)
    text = "x" * 300_000  # more than a pipe holds
    write = threading.Thread(target=write_text, args=(fifo, text))
    write.start()
    # A pipe that nobody has opened for writing yet reads as ended.
    begun = select.poll()
    begun.register(read, select.POLLIN)
    assert begun.poll(30_000)
    thread.start()
    write.join(30)
    thread.join(30)
    assert got == [text.encode()]
    assert stat.S_ISFIFO(fifo.lstat().st_mode)


def test_devices_and_what_is_behind_stdout_are_written_into(tmp_path: Path) -> None:
    (tmp_path / "null").symlink_to("/dev/null")
    write_text(tmp_path / "null", "x")
    write_text(Path("/dev/null"), "x")
    assert stat.S_ISCHR(Path("/dev/null").stat().st_mode)
    with pytest.raises(DferError, match="No space left"):
        write_text(Path("/dev/full"), "x")
    program = "from pathlib import Path; from engine.files import write_text; print('a', flush=True); "
    program += "write_text(Path('/dev/stdout'), 'b\\n')"
    for out in (subprocess.PIPE, (tmp_path / "out").open("w")):
        done = subprocess.run([sys.executable, "-c", program], stdout=out, text=True, timeout=60, check=True)
        assert (done.stdout or (tmp_path / "out").read_text()) == "a\nb\n"


def test_a_folder_and_a_circle_of_links_are_refused_and_nothing_is_left(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "circle").symlink_to(tmp_path / "circle")
    for name in ("folder", "circle"):
        with pytest.raises(DferError, match=f"cannot write .*{name}"):
            write_text(tmp_path / name, "x")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["circle", "folder"]


def test_a_finished_file_moves_to_where_it_is_wanted(tmp_path: Path) -> None:
    finished, target = tmp_path / "finished", tmp_path / "target"
    (tmp_path / "link").symlink_to(target)
    finished.write_text("x")
    place_file(finished, tmp_path / "link", 0o600)
    assert target.read_text() == "x"
    assert stat.S_IMODE(target.stat().st_mode) == 0o600
    assert not finished.exists()
    finished.write_text("y")
    (tmp_path / "folder").mkdir()
    with pytest.raises(DferError, match="cannot write"):
        place_file(finished, tmp_path / "folder")
    assert finished.read_text() == "y"
    place_file(finished, Path("/dev/null"))
    assert not finished.exists()


def test_another_file_system_is_no_obstacle(tmp_path: Path) -> None:
    shared = Path("/dev/shm")
    if not shared.is_dir() or shared.stat().st_dev == tmp_path.stat().st_dev:
        pytest.skip("one file system only")
    finished = shared / f"dfer-test-{os.getpid()}"
    finished.write_text("x")
    place_file(finished, tmp_path / "target")
    assert (tmp_path / "target").read_text() == "x"
    assert not finished.exists()
