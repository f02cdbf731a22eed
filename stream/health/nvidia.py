"""Whether the installed NVIDIA packages fit the machine under them: JetPack's own stack, or a driver.

Read from package metadata and two files of the system; nothing of NVIDIA's is imported.
"""

from __future__ import annotations

import importlib.metadata
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

TEGRA_RELEASE = Path("/etc/nv_tegra_release")
DRIVER = Path("/proc/driver/nvidia/version")
CUDA_13_DRIVER = 580
"""The first driver that runs CUDA 13 (CUDA 13.0 release notes, table 2)."""
_FROM_AN_INDEX = ("tensorrt-cu13", "tensorrt-cu12")


@dataclass(frozen=True)
class JetPack:
    """What a generation of JetPack brings.

    Attributes:
        name: As NVIDIA calls it; also the extra, in lower case and without the space.
        python: Of its Ubuntu, the one its TensorRT is bound to.
        cuda: Major version.
        tensorrt: Oldest version it came with.
    """

    name: str
    python: tuple[int, int]
    cuda: int
    tensorrt: str

    @property
    def extra(self) -> str:
        """The extra that fits it."""
        return self.name.lower().replace(" ", "")


# By the major release of Jetson Linux: R36 is JetPack 6 (6.0 to 6.2), R38 JetPack 7.0 and 7.1, R39 JetPack 7.2.
_SEVEN = JetPack("JetPack 7", (3, 12), 13, "10.13")
JETPACKS = {36: JetPack("JetPack 6", (3, 10), 12, "10.3"), 38: _SEVEN, 39: _SEVEN}


@dataclass(frozen=True)
class Mismatch:
    """What does not fit, and the command that mends it."""

    found: str
    remedy: str


def version_of(package: str) -> str | None:
    """An installed distribution's version."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def jetpack(release: Path = TEGRA_RELEASE) -> JetPack | None:
    """The JetPack this machine runs, or None where it is no Jetson, or one whose release is not known here."""
    try:
        found = re.match(r"# R(\d+) ", release.read_text("utf-8", "replace"))
    except OSError:
        return None
    return JETPACKS.get(int(found[1])) if found else None


def driver(version: Path = DRIVER) -> int | None:
    """Major version of the NVIDIA driver, or None."""
    try:
        found = re.search(r"Kernel Module(?:\s+for\s+\S+)?\s+(\d+)\.\d", version.read_text("utf-8", "replace"))
    except OSError:
        return None
    return int(found[1]) if found else None


def mismatch(
    pack: JetPack | None,
    driver_major: int | None,
    version: Callable[[str], str | None] = version_of,
    python: tuple[int, int] = sys.version_info[:2],
) -> Mismatch | None:
    """The first thing that does not fit.

    Args:
        pack: This machine's JetPack; None elsewhere.
        driver_major: The NVIDIA driver's major version; None where there is none.
        version: Version of an installed distribution.
        python: Of this environment.
    """
    return _on_a_desktop(driver_major, version) if pack is None else _on_jetpack(pack, version, python)


def _on_jetpack(pack: JetPack, version: Callable[[str], str | None], python: tuple[int, int]) -> Mismatch | None:
    own = f"python{pack.python[0]}.{pack.python[1]}"
    anew = f"{own} -m venv --system-site-packages .venv && .venv/bin/pip install 'dferstream[{pack.extra}]'"
    if python != pack.python:
        return Mismatch(f"Python {python[0]}.{python[1]}, but {pack.name}'s TensorRT is bound to {own}", anew)
    for package in _FROM_AN_INDEX:
        if found := version(package):
            foreign = f"{package} {found} is an index's; {pack.name} brings its own TensorRT for CUDA {pack.cuda}"
            return Mismatch(foreign, f"pip uninstall {package} {package}-bindings {package}-libs")
    tensorrt, bindings = version("tensorrt"), version("cuda-bindings")
    if tensorrt is None:
        return Mismatch(
            f"{pack.name}'s TensorRT is not seen from this environment", f"apt-get install python3-libnvinfer; {anew}"
        )
    if _numbers(tensorrt) < _numbers(pack.tensorrt) or (pack.cuda < 13 and _numbers(tensorrt) >= (11,)):
        return Mismatch(
            f"TensorRT {tensorrt} is not {pack.name}'s ({pack.tensorrt}, CUDA {pack.cuda})", "pip uninstall tensorrt"
        )
    if bindings is not None and _numbers(bindings)[0] != pack.cuda:
        return Mismatch(
            f"cuda-bindings {bindings}, but {pack.name} has CUDA {pack.cuda}", f"pip install 'dferstream[{pack.extra}]'"
        )
    return None


def _on_a_desktop(driver_major: int | None, version: Callable[[str], str | None]) -> Mismatch | None:
    found = version("tensorrt-cu13")
    if driver_major is None or found is None or driver_major >= CUDA_13_DRIVER:
        return None
    return Mismatch(
        f"tensorrt-cu13 {found} needs NVIDIA driver {CUDA_13_DRIVER} or newer, this is {driver_major}",
        "update the driver; or pip uninstall tensorrt-cu13, then pip install tensorrt-cu12 'cuda-bindings<13'",
    )


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(number) for number in re.findall(r"\d+", version)[:3])
