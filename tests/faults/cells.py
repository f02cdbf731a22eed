"""The kinds of fault, each with the means that this machine has for it, and words where it has none."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import stat
import struct
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.faults.chain import Chain

_DAY_NS = 86_400 * 10**9
_CGROUP = Path("/sys/fs/cgroup/cpu")
_SLOW_US = 300_000


class NotHereError(Exception):
    """This machine has no means for it; the text says why."""


@dataclass(frozen=True)
class Kind:
    """A kind of fault.

    Attributes:
        name: For people.
        holds_s: How long it lasts.
        hold: A context in which it lasts, given chain, target and seed.
        at_once: Whether recovery is counted from the fault's beginning, because nothing need end for it.
    """

    name: str
    holds_s: float
    hold: Callable[[Chain, str, int], contextlib.AbstractContextManager[None]]
    at_once: bool = False


class WallClocks:
    """Moves the wall clock of single programs, where a C compiler can make what does it.

    Args:
        folder: For the library.
    """

    def __init__(self, folder: Path) -> None:
        self._library = folder / "wall_clock.so"
        source = Path(__file__).with_name("wall_clock.c")
        command = ["cc", "-O2", "-shared", "-fPIC", "-o", str(self._library), str(source), "-ldl"]
        done = subprocess.run(command, capture_output=True, check=False) if shutil.which("cc") else None
        self._made = done is not None and done.returncode == 0

    def environment(self, folder: Path) -> dict[str, str]:
        """Of a program with this folder."""
        if not self._made:
            return {}
        move_clock(folder, 0)
        return {"LD_PRELOAD": str(self._library), "DFER_WALL_CLOCK": str(folder / "clock")}


def move_clock(folder: Path, ahead_ns: int) -> None:
    """Set how far ahead the clock of the program with this folder is."""
    with (folder / "clock").open("r+b" if (folder / "clock").exists() else "wb") as file:
        file.write(struct.pack("=q", ahead_ns))


@contextmanager
def _killed(chain: Chain, target: str, seed: int) -> Iterator[None]:
    for pid in _pids(chain, target, with_children=False):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    yield


@contextmanager
def _stopped(chain: Chain, target: str, seed: int) -> Iterator[None]:
    pids = _pids(chain, target, with_children=False)
    _signal(pids, signal.SIGSTOP)
    try:
        yield
    finally:
        _signal(pids, signal.SIGCONT)


@contextmanager
def _full_disk(chain: Chain, target: str, seed: int) -> Iterator[None]:
    name = chain.program(target).name
    if name not in chain.disks:
        raise NotHereError("no disk of one's own can be mounted")
    chain.disks[name].fill()
    try:
        if target == "capture child":
            # It writes nothing while it runs: what may fail is the start of another.
            _signal(_pids(chain, target, with_children=False), signal.SIGKILL)
        yield
    finally:
        chain.disks[name].free()


@contextmanager
def _slow_disk(chain: Chain, target: str, seed: int) -> Iterator[None]:
    if shutil.which("strace") is None:
        raise NotHereError("no strace, which delays the calls")
    pids = _pids(chain, target, with_children=target == "daemon")
    files = sorted({name for pid in pids for name in _files_of(pid)})
    calls = "write,pwrite64,writev,fsync,fdatasync"
    command = ["strace", "-f", "-qq", "-o", os.devnull, "-e", f"trace={calls}"]
    command += ["-e", f"inject={calls}:delay_enter={_SLOW_US}"]
    command += [word for name in files for word in ("-P", name)]
    command += [word for pid in pids for word in ("-p", str(pid))]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as tracer:
        try:
            with contextlib.suppress(subprocess.TimeoutExpired):
                tracer.wait(0.5)
                assert tracer.stderr is not None
                raise NotHereError(f"strace may not trace: {tracer.stderr.read().decode().strip()[:60]}")
            yield
        finally:
            tracer.terminate()


@contextmanager
def _camera_lost(chain: Chain, target: str, seed: int) -> Iterator[None]:
    chain.camera.mode = ("gone", "silent", "frozen")[seed % 3]
    try:
        yield
    finally:
        chain.camera.mode = "ok"


@contextmanager
def _clock_jumps(chain: Chain, target: str, seed: int) -> Iterator[None]:
    folder = chain.program(target).folder
    if not (folder / "clock").exists():
        raise NotHereError("no C compiler for what moves the clock, and the machine's own is not ours to set")
    move_clock(folder, _DAY_NS if seed % 2 else -_DAY_NS)
    try:
        yield
    finally:
        move_clock(folder, 0)


@contextmanager
def _cut_off(chain: Chain, target: str, seed: int) -> Iterator[None]:
    network = chain.network
    if network is None:
        raise NotHereError("no network namespace of one's own can be made")
    link = "v-camera" if target == "capture child" else network.link(target)
    network.cut(link)
    try:
        yield
    finally:
        network.mend(link)


@contextmanager
def _host_lost(chain: Chain, target: str, seed: int) -> Iterator[None]:
    """As by a power cut: nothing says goodbye, and whoever comes back knows of no connection."""
    network = chain.network
    if network is None:
        raise NotHereError("no network namespace of one's own can be made")
    if target == "capture child":
        raise NotHereError("it lives and dies with the daemon's host")
    network.cut(network.link(target))
    _signal(_pids(chain, target, with_children=True), signal.SIGKILL)
    network.remove(target)
    try:
        yield
    finally:
        network.add(target)


@contextmanager
def _little_cpu(chain: Chain, target: str, seed: int) -> Iterator[None]:
    pids = _pids(chain, target, with_children=target == "daemon")
    group = _CGROUP / f"dfer-faults-{os.getpid()}"
    try:
        group.mkdir()
    except OSError:
        with _duty_cycle(pids):
            yield
        return
    try:
        (group / "cpu.cfs_period_us").write_text("100000")
        (group / "cpu.cfs_quota_us").write_text("20000")
        _move(pids, group)
        yield
    finally:
        _move([int(word) for word in (group / "cgroup.procs").read_text().split()], _CGROUP)
        group.rmdir()


@contextmanager
def _duty_cycle(pids: list[int]) -> Iterator[None]:
    """A fifth of the time, in slices of 20 ms, where no control group can be made."""
    over = threading.Event()

    def turn() -> None:
        while not over.wait(0.02):
            _signal(pids, signal.SIGSTOP)
            over.wait(0.08)
            _signal(pids, signal.SIGCONT)

    thread = threading.Thread(target=turn)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


KINDS = (
    Kind("kill -9", 0.0, _killed, at_once=True),
    Kind("SIGSTOP 20 s", 20.0, _stopped),
    Kind("full disk", 3.0, _full_disk),
    Kind("slow disk", 3.0, _slow_disk),
    Kind("camera loss", 3.0, _camera_lost),
    Kind("clock ±1 day", 2.0, _clock_jumps, at_once=True),
    Kind("network cut", 5.0, _cut_off),
    Kind("host lost", 3.0, _host_lost),
    Kind("CPU quota 20 %", 5.0, _little_cpu),
)


def _pids(chain: Chain, target: str, with_children: bool) -> list[int]:
    program = chain.program(target)
    children = [child.pid for child in program.children()]
    if target == "capture child":
        return children
    return [program.pid, *(children if with_children else [])]


def _signal(pids: list[int], number: int) -> None:
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)


def _move(pids: list[int], group: Path) -> None:
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            (group / "cgroup.procs").write_text(str(pid))


def _files_of(pid: int) -> Iterator[str]:
    """The regular files that a process has open."""
    for entry in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(OSError):
            if stat.S_ISREG(entry.stat().st_mode) and not (name := str(entry.readlink())).endswith("(deleted)"):
                yield name
