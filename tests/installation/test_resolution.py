"""Every extra resolves to wheels for every Python and machine that is promised; no interpreter of that kind is needed.

A few cases always, all of them in `make resolve`. Resolving asks the package index: without one the tests are skipped.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from packaging.markers import Marker
from packaging.requirements import Requirement

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
EXTRAS = ("", *PROJECT["optional-dependencies"])
PYTHONS = ("3.10", "3.11", "3.12", "3.13", "3.14")
DESKTOP, JETSON = "x86_64-manylinux_2_28", "aarch64-manylinux_2_35"
QUICK = [
    ("", "3.10", JETSON),
    ("", "3.14", DESKTOP),
    ("jetpack6", "3.10", JETSON),
    ("jetpack7", "3.12", JETSON),
    ("tensorrt", "3.12", DESKTOP),
]
_NO_INDEX = ("error sending request", "Failed to fetch", "dns error", "Connection refused", "timed out")


def resolve(extra: str, python: str, machine: str) -> dict[str, str]:
    """Versions by package, in wheels alone."""
    command = [sys.executable, "-m", "uv", "pip", "compile", "--quiet", "--no-header", "--no-annotate"]
    command += ["--python-version", python, "--python-platform", machine, "--only-binary", ":all:"]
    # NVIDIA's main packages are sdists of a few lines that name the wheels.
    command += [word for name in ("tensorrt-cu13", "tensorrt-cu13-libs") for word in ("--no-binary", name)]
    command += ["--extra", extra] if extra else []
    done = subprocess.run([*command, "pyproject.toml"], cwd=ROOT, capture_output=True, text=True, timeout=800)
    if done.returncode != 0 and any(word in done.stderr for word in _NO_INDEX):
        pytest.skip("the package index is not reachable")
    assert done.returncode == 0, done.stderr
    return dict(re.findall(r"^([a-z0-9_.-]+)==(\S+)", done.stdout, re.MULTILINE))


@pytest.mark.parametrize(("extra", "python", "machine"), QUICK)
def test_the_daemon_and_its_gpus_resolve(extra: str, python: str, machine: str) -> None:
    found = resolve(extra, python, machine)
    assert found["openvino"].startswith("2026")
    assert not {"mediapipe", "jax", "jaxlib", "scipy", "matplotlib", "opencv-contrib-python"} & set(found)
    # JetPack's own TensorRT and CUDA, or the newest of an index.
    cuda = {"jetpack6": "12", "jetpack7": "13", "tensorrt": "13"}.get(extra)
    assert found.get("cuda-bindings", "").partition(".")[0] == (cuda or "")
    assert ("tensorrt-cu13" in found) == (extra == "tensorrt")
    assert ("onnxruntime" in found) == bool(extra)


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("machine", [DESKTOP, JETSON])
@pytest.mark.parametrize("python", PYTHONS)
@pytest.mark.parametrize("extra", EXTRAS)
def test_every_extra_resolves_everywhere(extra: str, python: str, machine: str) -> None:
    assert "openvino" in resolve(extra, python, machine)


@pytest.mark.parametrize(
    ("kernel", "python", "wanted"),
    [
        ("6.8.0-41-generic", "3.12", {"tensorrt-cu13", "cuda-bindings>=13"}),
        ("5.15.148-tegra", "3.10", {"cuda-bindings<13"}),
        ("6.8.12-1001-tegra", "3.12", {"cuda-bindings>=13"}),
    ],
)
def test_the_tensorrt_extra_leaves_a_jetson_its_own(kernel: str, python: str, wanted: set[str]) -> None:
    machine = {"platform_release": kernel, "python_version": python}
    needed = [Requirement(line) for line in PROJECT["optional-dependencies"]["tensorrt"]]
    taken = [one for one in needed if (one.marker or Marker("python_version > '3'")).evaluate(machine)]
    names = {"tensorrt-cu13"} & {one.name for one in taken}
    for one in taken:
        if one.name == "cuda-bindings":
            names.add("cuda-bindings>=13" if one.specifier.contains("13.0.0") else "cuda-bindings<13")
    assert names == wanted
