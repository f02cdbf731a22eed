"""``dfer-stream doctor``: findings and remedies."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from stream.cli import main
from stream.commands import doctor
from stream.commands.doctor import (
    Check,
    check_libraries,
    check_own_packages,
    check_packages,
    check_run_directory,
)

ROOT = Path(__file__).resolve().parents[3]


def test_this_machine(capsys: pytest.CaptureFixture[str]) -> None:
    code = main(["doctor", "--json"])
    report = json.loads(capsys.readouterr().out)
    assert report["ok"] == (code == 0)
    by_name = {check["name"]: check for check in report["checks"]}
    assert by_name["python"]["status"] == "ok"
    assert by_name["zeromq"]["status"] == "ok"
    assert "CPU" in by_name["openvino"]["found"]
    for check in report["checks"]:
        assert check["status"] in ("ok", "warn", "fail")
        assert bool(check["remedy"]) == (check["status"] != "ok")


def test_a_missing_library_names_its_debian_package() -> None:
    def load(name: str) -> None:
        if "GL" in name:
            raise OSError(name)

    found = check_libraries(load)
    assert (found.status, found.remedy) == ("fail", "apt-get install libgl1")
    assert check_libraries(lambda name: None).status == "ok"


def test_a_missing_package_is_named() -> None:
    found = check_packages(lambda name: None if name == "zmq" else object())
    assert (found.status, found.found) == ("fail", "missing: zmq")


def test_a_stranger_in_place_of_our_own_package_is_named(tmp_path: Path) -> None:
    assert check_own_packages().status == "ok"
    stranger = tmp_path / "train"
    stranger.mkdir()
    code = "from stream.commands.doctor import check_own_packages as check; print(check().status, check().found)"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), str(ROOT)])}

    def said() -> str:
        command = [sys.executable, "-c", code]
        done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True)
        return done.stdout.strip()

    # A folder without __init__.py captures nothing.
    assert said() == f"ok {ROOT}"
    (stranger / "__init__.py").touch()
    assert said() == f"warn train is {stranger}"


def test_run_directory(tmp_path: Path) -> None:
    assert check_run_directory(tmp_path).status == "ok"
    assert "5570" in check_run_directory(tmp_path / "none").found


def test_a_failure_is_a_table_row_and_an_exit_code(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    good, warned = Check("one", "ok", "fine"), Check("two", "warn", "odd", "mend it")
    monkeypatch.setattr(doctor, "CHECKS", (lambda: good, lambda: warned))
    assert main(["doctor"]) == 0
    monkeypatch.setattr(doctor, "CHECKS", (lambda: good, lambda: Check("three", "fail", "gone", "apt-get install it")))
    assert main(["doctor"]) == 1
    out = capsys.readouterr().out
    assert "→ apt-get install it" in out
    assert "cannot run here yet" in out


def test_neither_doctor_nor_camera_imports_opencv_in_the_parent() -> None:
    """A missing libGL must be a finding, not a traceback; and a parent without OpenCV starts faster."""
    code = "import sys; sys.modules['cv2'] = sys.modules['torch'] = None; import stream.commands.doctor, stream.camera"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)
