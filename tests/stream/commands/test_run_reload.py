"""SIGHUP to a real daemon with a settings file."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from stream.publish.message import Faces, Status
from stream.subscribe.client import Client

ROOT = Path(__file__).resolve().parents[3]
DEADLINE_S = 120


def test_sighup_reads_the_settings_anew_and_no_face_is_lost(
    small_bundle: Callable[[str], Path], tmp_path: Path
) -> None:
    file = tmp_path / "cam0.toml"
    bundle = small_bundle("frames")

    def write(status_hz: float, threads: int, more: str = "") -> None:
        file.write_text(
            f'[source]\nuri = "demo://"\n[publish]\nbind = "ipc://{tmp_path}/r.ipc"\nstatus_hz = {status_hz}\n'
            f'[model]\nbundle = "{bundle}"\nthreads = {threads}\n{more}'
        )

    def until(client: Client, done: Callable[[object], bool]) -> object:
        deadline = time.monotonic() + DEADLINE_S
        while time.monotonic() < deadline:
            message = client.receive(1)
            if message is not None and done(message):
                return message
        raise AssertionError("not heard in time")

    write(2, 1)
    with subprocess.Popen(
        # Without a terminal, as a service: one that could be closed would make SIGHUP mean that.
        [sys.executable, "-m", "stream.cli", "run", "--config", str(file), "--quiet"],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        try:
            with (
                Client(f"ipc://{tmp_path}/r.ipc") as faces,
                Client(f"ipc://{tmp_path}/r.ipc", "status") as status,
            ):
                before = until(faces, lambda m: isinstance(m, Faces) and bool(m.faces))
                assert isinstance(before, Faces)
                until(status, lambda m: isinstance(m, Status) and m.rate_hz == 2)
                write(4, 2)
                process.send_signal(signal.SIGHUP)
                until(status, lambda m: isinstance(m, Status) and m.rate_hz == 4)
                write(8, 2, "[nonsense]\n")
                process.send_signal(signal.SIGHUP)
                assert process.stderr is not None
                said = [process.stderr.readline() for _ in range(2)]
                after = until(faces, lambda m: isinstance(m, Faces) and bool(m.faces))
                assert isinstance(after, Faces)
                now = until(status, lambda m: True)
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(60)
    assert said[0] == "event=reloaded changed=publish.status_hz restart=model.threads\n"
    assert said[1].startswith("event=reload_refused error=")
    assert "nonsense" in said[1]
    assert isinstance(now, Status)
    assert now.rate_hz == 4
    assert (after.session, after.faces[0].id) == (before.session, before.faces[0].id)
    assert process.returncode == 0
