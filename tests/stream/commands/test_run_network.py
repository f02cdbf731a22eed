"""What the daemon publishes and says of a camera that is not there, changes its size or sends too much at once."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from itertools import chain, cycle, repeat
from pathlib import Path

from tests.stream.camera.drivers.mjpeg_server import jpeg, serving

ROOT = Path(__file__).resolve().parents[3]


def run(*flags: str | Path) -> subprocess.CompletedProcess[str]:
    line = [sys.executable, "-m", "stream.cli", "run", *map(str, flags)]
    return subprocess.run(line, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)


def test_why_there_is_no_camera_is_said_once_however_quiet(small_bundle: Callable[[str], Path], tmp_path: Path) -> None:
    flags: list[str | Path] = [
        "--bundle",
        small_bundle("frames"),
        "--bind",
        f"ipc://{tmp_path}/a.ipc",
        "--seconds",
        "3",
    ]
    done = run("--source", "/dev/video97", "--quiet", *flags)
    assert (done.returncode, done.stdout) == (0, "")
    assert done.stderr.count("/dev/video97 is not there: plug the camera in") == 1
    assert len(done.stderr.splitlines()) == 1


def test_a_size_that_changes_and_a_frame_over_the_limit_end_nothing(
    small_bundle: Callable[[str], Path], tmp_path: Path
) -> None:
    small, large = [jpeg(64, 48)] * 10, [jpeg(160, 90)] * 10
    with serving(lambda _: chain(small, large, [jpeg(9000, 9000)], cycle(small + large))) as server:
        flags: list[str | Path] = [
            "--bundle",
            small_bundle("frames"),
            "--bind",
            f"ipc://{tmp_path}/b.ipc",
            "--frames",
            "60",
        ]
        done = run("--source", server.url(), "--json", *flags)
    assert done.returncode == 0, done.stderr
    faces = [json.loads(line) for line in done.stdout.splitlines()]
    shown = [message for message in faces if message["valid"]]
    assert {(m["width"], m["height"]) for m in shown} == {(64, 48), (160, 90)}
    assert shown[-1]["dropped_total"] == shown[-1]["frame_id"] + 1 - len(shown) >= 1
    assert done.stderr.count("a frame of 9000x9000 px is too large") == 1


def test_pictures_of_a_host_that_was_not_configured_are_not_published(
    small_bundle: Callable[[str], Path], tmp_path: Path
) -> None:
    flags: list[str | Path] = [
        "--bundle",
        small_bundle("frames"),
        "--bind",
        f"ipc://{tmp_path}/c.ipc",
        "--seconds",
        "4",
    ]
    with (
        serving(lambda _: repeat(jpeg(64, 48)), host="127.0.0.2") as other,
        serving(lambda _: [], {"/video": other.url()}) as server,
    ):
        done = run("--source", server.url(), "--json", *flags)
        assert other.asked == []
    assert done.returncode == 0, done.stderr
    assert not any(json.loads(line)["valid"] for line in done.stdout.splitlines())
    assert done.stderr.count("redirects to 127.0.0.2, which was not configured") == 1
