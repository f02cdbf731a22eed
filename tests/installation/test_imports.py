"""What is installed is what is imported, and what is not installed is one line with the command that brings it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from tests.installation.test_resolution import PROJECT

ROOT = Path(__file__).resolve().parents[2]
# Where the name of the module is not that of the package.
MODULES = {"opencv-python": "cv2", "pyzmq": "zmq"}


def test_a_whole_run_imports_every_requirement_and_no_extra(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "stream.cli", "run", "--source", "demo://", "--frames", "40"]
    command += ["--bind", f"ipc://{tmp_path}/run.ipc"]
    # The capture process says nothing of its imports; what it does first, done here, does.
    capture = (
        "from stream.camera import CameraSettings, parse_uri\n"
        "from stream.camera.drivers import open_driver\n"
        "open_driver(parse_uri('demo://'), CameraSettings())\n"
    )
    environment = {**os.environ, "PYTHONPROFILEIMPORTTIME": "1"}
    imported = set()
    for program in (command, [sys.executable, "-c", capture]):
        done = subprocess.run(program, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=180)
        assert done.returncode == 0, done.stderr[-2000:]
        imported |= set(re.findall(r"^import time:.*\| +([A-Za-z0-9_]+)$", done.stderr, re.MULTILINE))
    needed = [Requirement(line) for line in PROJECT["dependencies"]]
    here = [one.name for one in needed if one.marker is None or one.marker.evaluate()]
    assert [name for name in here if MODULES.get(name, name) not in imported] == []
    optional = {Requirement(line).name for lines in PROJECT["optional-dependencies"].values() for line in lines}
    assert imported & {MODULES.get(name, name) for name in optional - set(here)} == set()


@pytest.mark.parametrize(
    ("program", "arguments", "package", "extra"),
    [
        (
            "stream",
            "run --source demo:// --bind ipc://here.ipc --backend onnxruntime --quiet",
            "onnxruntime",
            "onnxruntime",
        ),
        ("engine", "inspect stream/default_model/encoder.onnx", "onnx", "engine"),
        ("calibration", "fit stream/default_model", "scipy", "calibrate"),
        ("train", "inspect tg-dfer", "torch", "train"),
    ],
)
def test_a_missing_extra_is_one_line(program: str, arguments: str, package: str, extra: str, tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(f"import sys\nsys.modules[{package!r}] = None\n")
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), str(ROOT)])}
    command = [sys.executable, "-m", f"{program}.cli", *arguments.replace("here", f"{tmp_path}/here").split()]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 2, done.stderr
    assert re.fullmatch(rf".*{package}.*; pip install 'dferstream\[{extra}\]'\n", done.stderr), done.stderr


def test_help_needs_neither_numpy_nor_a_model_runtime() -> None:
    """Help, completion and a wrong flag are answered without what the daemon stands on."""
    blocked = ("numpy", "cv2", "openvino", "zmq", "psutil", "rich", "importlib.metadata")
    code = f"import sys\nfor name in {blocked}: sys.modules[name] = None\n"
    code += "from stream.cli import main\nmain(['run', '--help'])"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert "--source" in done.stdout
