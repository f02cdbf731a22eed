"""The daemon makes no connection that was not configured, and starts no process that does."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
AUDITED = """
import json, os, sys
log = open(sys.argv.pop(1), "a", buffering=1)
def audit(event, args):
    if event in ("socket.connect", "socket.getaddrinfo", "socket.sendto", "os.fork", "os.exec", "os.posix_spawn"):
        print(json.dumps([event, repr(args)]), file=log)
    elif event == "subprocess.Popen":
        print(json.dumps([event, repr(args[1][:4])]), file=log)
    elif event == "import" and args[0].split(".")[0] == "openvino_telemetry":
        print(json.dumps([event, args[0]]), file=log)
sys.addaudithook(audit)
from stream.cli import main
sys.exit(main(sys.argv[1:]))
"""


def test_nothing_but_the_camera_process_is_started_and_nothing_is_connected_to(
    small_bundle: Callable[[str], Path], tmp_path: Path
) -> None:
    log = tmp_path / "audit"
    flags = ["run", "--source", "demo://", "--frames", "10", "--quiet", "--bundle", small_bundle("frames")]
    flags += ["--bind", f"ipc://{tmp_path}/a.ipc"]
    command = [sys.executable, "-c", AUDITED, str(log), *map(str, flags)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    seen = [json.loads(line) for line in log.read_text().splitlines()]
    started = [args for event, args in seen if event in ("subprocess.Popen", "os.exec", "os.posix_spawn")]
    assert all("stream.camera" in args or "camera" in args for args in started), started
    assert [event for event, _ in seen if event.startswith("socket.")] == []
    assert "os.fork" not in [event for event, _ in seen]


def test_openvino_is_imported_without_its_telemetry() -> None:
    code = "import engine, openvino, sys; print(sys.modules['openvino_telemetry'])"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "None"
