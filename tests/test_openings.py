"""Which sockets the daemon and its capture process open, as the kernel sees it: strace, not Python's own audit."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.faults.camera import FaultyCamera, demo_jpegs
from tests.stream.camera.drivers.mjpeg_server import serving
from tests.waiting import wait_for

ROOT = Path(__file__).resolve().parents[1]
CALLS = "connect,bind,sendto,sendmsg,sendmmsg"
_INET = re.compile(
    r"^\d+ +(\w+)\(.*sa_family=AF_INET6?, sin6?_port=htons\((\d+)\).*?(?:inet_addr\(|AF_INET6, )\"([^\"]+)\""
)
_FAMILY = re.compile(r"sa_family=AF_(\w+)")
SECRET = "pass-w0rd-of-the-camera"


def traced(seconds: float, bundle: Path, tmp_path: Path) -> tuple[list[str], set[tuple[str, str, int]], int, int, str]:
    """Lines of strace, what was reached over IP, the ports of camera and stranger, and all that was printed."""
    trace = tmp_path / "trace"
    camera = FaultyCamera(demo_jpegs(30), 20)

    def stranger(_: int) -> Iterator[bytes]:
        yield from camera.parts(0)

    # The camera redirects to another host at first, then plays.
    with serving(stranger, host="127.0.0.2") as other, camera.serving() as server:
        server.redirects["/video"] = other.url()
        where = server.url().replace("http://", f"http://admin:{SECRET}@")
        command = [
            "strace",
            "--seccomp-bpf",
            "-f",
            "-qq",
            "-o",
            str(trace),
            "-e",
            f"trace={CALLS}",
            sys.executable,
            "-m",
            "stream.cli",
        ]
        command += [
            "run",
            "--json",
            "all",
            "--bundle",
            str(bundle),
            "--threads",
            "1",
            "--bind",
            f"ipc://{tmp_path}/a.ipc",
        ]
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "DFER_SOURCE_URI": where, "INVOCATION_ID": "x"}
        out, err = tmp_path / "out", tmp_path / "err"
        with (
            out.open("wb") as stdout,
            err.open("wb") as stderr,
            subprocess.Popen(command, cwd=ROOT, env=environment, stdout=stdout, stderr=stderr) as child,
        ):
            try:
                wait_for(lambda: len(server.asked) >= 2 or child.poll() is not None, 250)
                server.redirects.clear()
                wait_for(lambda: b'"valid":true' in out.read_bytes() or child.poll() is not None, 250)
                daemon = int(Path(f"/proc/{child.pid}/task/{child.pid}/children").read_text().split()[0])
                below = [int(word) for word in Path(f"/proc/{daemon}/task/{daemon}/children").read_text().split()]
                said = "".join(
                    (Path(f"/proc/{pid}") / name).read_bytes().decode("utf-8", "replace")
                    for pid in below
                    for name in ("cmdline", "environ", "comm")
                )
                said += (Path(f"/proc/{daemon}/cmdline")).read_bytes().decode()
                assert below
                threading.Event().wait(seconds)
                assert child.poll() is None
            finally:
                child.send_signal(signal.SIGTERM)
                for pid in Path(f"/proc/{child.pid}/task/{child.pid}/children").read_text().split():
                    os.kill(int(pid), signal.SIGTERM)
                child.wait(60)
        said += out.read_text() + err.read_text()
        lines = trace.read_text().splitlines()
        reached = {(m[1], m[3], int(m[2])) for line in lines if (m := _INET.match(line))}
        return lines, reached, server.server_port, other.connections, said


@pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed")
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("seconds", [2.0, pytest.param(600.0, marks=pytest.mark.slow)], ids=["short", "10 min"])
def test_only_the_camera_that_was_named_is_reached_and_its_password_stays_inside(
    seconds: float, small_bundle: Callable[[str], Path], tmp_path: Path
) -> None:
    may = subprocess.run(
        ["strace", "--seccomp-bpf", "-f", "-qq", "-o", "/dev/null", "true"], capture_output=True, check=False
    )
    if may.returncode:
        pytest.skip("processes may not be traced here")
    lines, reached, port, strangers, said = traced(seconds, small_bundle("frames"), tmp_path)
    assert ("connect", "127.0.0.1", port) in reached
    assert reached == {("connect", "127.0.0.1", port)}
    assert strangers == 0
    families = {name for line in lines for name in _FAMILY.findall(line)}
    assert families <= {"INET", "UNIX", "UNSPEC"}, families
    assert SECRET not in said
    assert '"valid":true' in said
