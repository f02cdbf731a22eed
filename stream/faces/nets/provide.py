"""Put the face nets into the source tree, from where they go into the wheel and the editable install.

They are taken, checked by hash, from the first of: the tree itself; the wheel or folder that ``DFERSTREAM_FACE_NETS``
names; the user's cache; MediaPipe's wheel, which pip downloads from the index that its own settings name. Which Python
and which machine this is does not matter: the wheel is only ever opened as a zip file. Needs nothing but Python and
pip, and runs alone too, for a checkout that is not installed::

    python stream/faces/nets/provide.py
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import os
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

VARIABLE = "DFERSTREAM_FACE_NETS"
ROOT = Path(__file__).resolve().parents[3]
# Each of that release's wheels holds the same nets.
_PLATFORM = (
    "--platform",
    "manylinux_2_17_x86_64",
    "--python-version",
    "3.11",
    "--implementation",
    "cp",
    "--abi",
    "cp311",
)
_OFFLINE = f"without a network: {VARIABLE}=/path/to/a/mediapipe/wheel, or to a folder with the three .tflite files"


class FaceNetsError(Exception):
    """The nets are not to be had; what was tried and what to do, in one line."""


def provide(root: Path = ROOT, environment: Mapping[str, str] = os.environ) -> list[Path]:
    """Make sure that every net lies in the tree with the right bytes.

    Args:
        root: The source tree.
        environment: ``DFERSTREAM_FACE_NETS``, ``XDG_CACHE_HOME`` and ``HOME`` count; pip reads the rest.

    Returns:
        Where they are.

    Raises:
        FaceNetsError: If one is nowhere to be had, or what the variable names holds other bytes.
    """
    known = _known(root)
    folder = root / "stream" / "faces" / "nets" / "tflite"
    wanted = {net.name: net for net in known.FILES.values()}
    missing = {name: net for name, net in wanted.items() if _good(folder / name, net.sha256) is None}
    if missing:
        cache = _cache(environment)
        found = _named(environment[VARIABLE], missing) if environment.get(VARIABLE) else _cached(cache, missing)
        if found is None:
            found = _downloaded(known.REQUIREMENT, missing, environment)
        for name, data in found.items():
            try:
                _write(folder / name, data)
            except OSError as error:
                raise FaceNetsError(f"the face nets must lie in {folder}: {error.strerror}") from error
            with contextlib.suppress(OSError):  # a home that cannot be written costs the next build a download
                _write(cache / name, data)
    return [folder / name for name in wanted]


def _known(root: Path) -> Any:
    """The table of files, read without importing the package round it: NumPy is not there while a wheel is built."""
    spec = importlib.util.spec_from_file_location("face_net_files", root / "stream" / "faces" / "nets" / "files.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


def _cache(environment: Mapping[str, str]) -> Path:
    base = environment.get("XDG_CACHE_HOME") or f"{environment.get('HOME') or Path.home()}/.cache"
    return Path(base) / "dferstream" / "face-nets"


def _good(path: Path, sha256: str) -> bytes | None:
    """The file's bytes if they are the right ones."""
    try:
        data = path.read_bytes()
    except OSError:
        return None
    return data if hashlib.sha256(data).hexdigest() == sha256 else None


def _cached(cache: Path, wanted: Mapping[str, Any]) -> dict[str, bytes] | None:
    found = {name: _good(cache / name, net.sha256) for name, net in wanted.items()}
    good = {name: data for name, data in found.items() if data is not None}
    return good if len(good) == len(wanted) else None


def _named(place: str, wanted: Mapping[str, Any]) -> dict[str, bytes]:
    path = Path(place).expanduser()
    if path.is_file():
        return _unpacked(path, wanted)
    if not path.is_dir():
        raise FaceNetsError(f"{VARIABLE}={place}: no such file or folder")
    found = _cached(path, wanted)
    if found is None:
        raise FaceNetsError(f"{VARIABLE}={place}: the folder lacks {', '.join(wanted)}, or they have other bytes")
    return found


def _unpacked(wheel: Path, wanted: Mapping[str, Any]) -> dict[str, bytes]:
    found = {}
    try:
        with zipfile.ZipFile(wheel) as archive:
            for name, net in wanted.items():
                found[name] = archive.read(net.inside)
    except (OSError, KeyError, zipfile.BadZipFile) as error:
        raise FaceNetsError(f"{wheel} holds no face nets: {error}; {_OFFLINE}") from error
    for name, net in wanted.items():
        if hashlib.sha256(found[name]).hexdigest() != net.sha256:
            raise FaceNetsError(f"{wheel}: {net.inside} is not the expected net; {_OFFLINE}")
    return found


def _downloaded(requirement: str, wanted: Mapping[str, Any], environment: Mapping[str, str]) -> dict[str, bytes]:
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "download", "--quiet", "--no-deps"]
        command += ["--only-binary", ":all:", *_PLATFORM, "--dest", folder, requirement]
        done = subprocess.run(command, capture_output=True, text=True, env=dict(environment))
        wheels = list(Path(folder).glob("*.whl"))
        if done.returncode != 0 or not wheels:
            said = [line for line in done.stderr.splitlines() if line.strip() and not line.startswith("WARNING")]
            why = said[-1] if said else "pip gave no wheel"
            raise FaceNetsError(
                f"the face nets come out of {requirement}'s wheel, which pip cannot get: {why}; {_OFFLINE}"
            )
        return _unpacked(wheels[0], wanted)


def _write(path: Path, data: bytes) -> None:
    """Whole or not at all: two builds may run side by side."""
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=".")
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
        Path(name).chmod(0o644)
        Path(name).replace(path)
    except OSError:
        Path(name).unlink(missing_ok=True)
        raise


def main() -> int:
    """Provide them and say where they are."""
    try:
        for path in provide():
            print(path)
    except FaceNetsError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
