"""JetPack's stack and a desktop's driver, from the files and package lists such machines have."""

from __future__ import annotations

from pathlib import Path

import pytest

from stream.health.nvidia import JETPACKS, JetPack, driver, jetpack, mismatch, version_of

SIX, SEVEN = JETPACKS[36], JETPACKS[38]
R36 = "# R36 (release), REVISION: 4.3, GCID: 38968081, BOARD: generic, EABI: aarch64, DATE: Wed Jan  8 01:49:37 2025\n"
OPEN_DRIVER = (
    "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  580.95.05  Release Build  (dvs-builder@U22)\n"
    "GCC version:  gcc version 12.3.0\n"
)
CLOSED_DRIVER = "NVRM version: NVIDIA UNIX x86_64 Kernel Module  535.183.01  Sun May 12 19:39:15 UTC 2024\n"


def test_the_release_file_names_the_jetpack(tmp_path: Path) -> None:
    release = tmp_path / "nv_tegra_release"
    assert jetpack(release) is None
    release.write_text(R36)
    assert jetpack(release) is SIX
    release.write_text(R36.replace("R36", "R39"))
    assert jetpack(release) == SEVEN
    release.write_text(R36.replace("R36", "R99"))
    assert jetpack(release) is None
    assert (SIX.extra, SEVEN.extra) == ("jetpack6", "jetpack7")


@pytest.mark.parametrize(("text", "major"), [(OPEN_DRIVER, 580), (CLOSED_DRIVER, 535), ("odd", None)])
def test_the_drivers_major_version(tmp_path: Path, text: str, major: int | None) -> None:
    assert driver(tmp_path / "none") is None
    (tmp_path / "version").write_text(text)
    assert driver(tmp_path / "version") == major


@pytest.mark.parametrize(
    ("pack", "python", "installed", "found", "remedy"),
    [
        (SIX, (3, 10), {"tensorrt": "10.3.0", "cuda-bindings": "12.9.10"}, None, None),
        (SEVEN, (3, 12), {"tensorrt": "10.16.2.10", "cuda-bindings": "13.5.0"}, None, None),
        (SIX, (3, 12), {"tensorrt": "10.3.0"}, "bound to python3.10", "python3.10 -m venv --system-site-packages"),
        (SIX, (3, 10), {"tensorrt": "11.4.0", "tensorrt-cu13": "11.4.0"}, "tensorrt-cu13 11.4.0", "pip uninstall"),
        (SIX, (3, 10), {"tensorrt": "11.4.0"}, "TensorRT 11.4.0 is not JetPack 6's", "pip uninstall tensorrt"),
        (SIX, (3, 10), {}, "not seen from this environment", "[jetpack6]"),
        (SIX, (3, 10), {"tensorrt": "10.3.0", "cuda-bindings": "13.5.0"}, "has CUDA 12", "[jetpack6]"),
        (SEVEN, (3, 12), {"tensorrt": "10.13.3", "cuda-bindings": "12.9.10"}, "has CUDA 13", "[jetpack7]"),
        (SEVEN, (3, 10), {}, "bound to python3.12", "[jetpack7]"),
    ],
)
def test_what_does_not_fit_a_jetpack_is_named(
    pack: JetPack, python: tuple[int, int], installed: dict[str, str], found: str | None, remedy: str | None
) -> None:
    wrong = mismatch(pack, None, lambda name: installed.get(name), python)
    if found is None or remedy is None:
        assert wrong is None
        return
    assert wrong is not None
    assert found in wrong.found
    assert remedy in wrong.remedy


def test_a_driver_too_old_for_cuda_13_is_named() -> None:
    installed = {"tensorrt-cu13": "11.4.0"}
    wrong = mismatch(None, 535, lambda name: installed.get(name))
    assert wrong is not None
    assert "580 or newer, this is 535" in wrong.found
    assert mismatch(None, 580, lambda name: installed.get(name)) is None
    assert mismatch(None, 535, lambda _: None) is None
    assert mismatch(None, None, lambda name: installed.get(name)) is None


def test_versions_come_from_installed_packages() -> None:
    assert version_of("numpy") is not None
    assert version_of("no-such-package-of-anybody") is None
