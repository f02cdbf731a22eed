"""``dfer-stream doctor``: what this machine has, what it lacks, and the command that mends it.

Imports nothing at load time that may be missing: its job is to say so.
"""

from __future__ import annotations

import argparse
import ctypes
import grp
import importlib
import importlib.util
import json
import os
import shutil
import sys
import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass
from importlib.machinery import ModuleSpec
from pathlib import Path

from engine.console import Exit
from engine.text import say
from stream.camera.devices import list_devices
from stream.faces.nets.files import FILES, FOLDER
from stream.health.nvidia import driver, jetpack, mismatch

RUN_DIRECTORY = Path("/run/dferstream")
NEWEST_PYTHON = (3, 14)
"""The newest that all requirements were resolved for."""
_PACKAGES = ("numpy", "cv2", "av", "openvino", "zmq", "msgspec", "rich", "psutil")
_OWN_PACKAGES = ("stream", "engine", "calibration", "train")


@dataclass(frozen=True)
class Check:
    """One finding.

    Attributes:
        name: What was looked at.
        status: ``ok``; ``warn`` (works without it); ``fail`` (the daemon cannot run).
        found: What is there.
        remedy: The command or setting that mends it, empty where nothing is amiss.
    """

    name: str
    status: str
    found: str
    remedy: str = ""


def check_python() -> Check:
    """Python; pip refuses one that is too old, and nobody knows the next."""
    version = ".".join(map(str, sys.version_info[:3]))
    if sys.version_info[:2] <= NEWEST_PYTHON:
        return Check("python", "ok", version)
    newest = ".".join(map(str, NEWEST_PYTHON))
    return Check("python", "warn", f"{version} is newer than {newest}", f"if something is amiss, use Python {newest}")


def check_libraries(load: Callable[[str], object] = ctypes.CDLL) -> Check:
    """The two system libraries that OpenCV's wheel leaves to the system."""
    needed = {"libGL.so.1": "libgl1", "libglib-2.0.so.0": "libglib2.0-0"}
    missing = []
    for library, package in needed.items():
        try:
            load(library)
        except OSError:
            missing.append((library, package))
    if not missing:
        return Check("system libraries", "ok", ", ".join(needed))
    packages = " ".join(package for _, package in missing)
    names = ", ".join(library for library, _ in missing)
    return Check("system libraries", "fail", f"missing: {names}", f"apt-get install {packages}")


def check_packages(find: Callable[[str], object | None] = importlib.util.find_spec) -> Check:
    """The Python packages of the base install."""
    missing = [name for name in _PACKAGES if find(name) is None]
    if missing:
        return Check("python packages", "fail", f"missing: {', '.join(missing)}", "pip install dferstream")
    return Check("python packages", "ok", f"{len(_PACKAGES)} found")


def check_own_packages(find: Callable[[str], ModuleSpec | None] = importlib.util.find_spec) -> Check:
    """Our four packages have plain names: another project's folder on the path would be imported in their place."""
    home = Path(__file__).parents[2]
    strangers = []
    for name in _OWN_PACKAGES:
        spec = find(name)
        place = Path(spec.origin).parent if spec is not None and spec.origin is not None else None
        if place is None or not place.samefile(home / name):
            strangers.append(f"{name} is {place or 'missing'}")
    if strangers:
        remedy = "unset PYTHONPATH, start dfer-stream from another folder, or pip uninstall what is in the way"
        return Check("own packages", "warn", "; ".join(strangers), remedy)
    return Check("own packages", "ok", str(home))


def check_face_nets(folder: Path = FOLDER) -> Check:
    """The face nets that the build put beside the code."""
    missing = [net.name for net in FILES.values() if not (folder / net.name).is_file()]
    if missing:
        remedy = "pip install --force-reinstall dferstream, or in a checkout: python stream/faces/nets/provide.py"
        return Check("face nets", "fail", f"missing: {', '.join(missing)}", remedy)
    return Check("face nets", "ok", f"{len(FILES)} in {folder}")


def check_cameras() -> Check:
    """Cameras under ``/dev``, and whether this user may open them."""
    devices = list_devices()
    if not devices:
        return Check("cameras", "warn", "none under /dev/video*", "plug one in, or use --source demo:// or a file")
    shut = [device for device in devices if device.problem]
    found = ", ".join(f"{device.uri} ({device.name})" for device in devices)
    if len(shut) == len(devices):
        return Check("cameras", "warn", found, shut[0].problem)
    return Check("cameras", "ok", found)


def check_groups() -> Check:
    """Membership of ``video``, which owns cameras, and ``render``, which owns GPUs."""
    if os.geteuid() == 0:
        return Check("groups", "ok", "root")
    ours = {group.gr_name for group in grp.getgrall() if group.gr_gid in (*os.getgroups(), os.getegid())}
    missing = [name for name in ("video", "render") if name not in ours and _has_group(name)]
    if missing:
        return Check("groups", "warn", f"not in {', '.join(missing)}", f"usermod -aG {','.join(missing)} USER")
    return Check("groups", "ok", ", ".join(sorted(ours & {"video", "render"})) or "no such groups here")


def _has_group(name: str) -> bool:
    try:
        grp.getgrnam(name)
    except KeyError:
        return False
    return True


def check_openvino() -> Check:
    """The devices that OpenVINO sees; CPU is the default back end."""
    if importlib.util.find_spec("openvino") is None:
        return Check("openvino", "fail", "not installed", "pip install openvino")
    try:
        devices = list(importlib.import_module("openvino").Core().available_devices)
    except (ImportError, RuntimeError, OSError) as error:
        return Check("openvino", "fail", str(error).splitlines()[0], "pip install --force-reinstall openvino")
    return Check("openvino", "ok" if "CPU" in devices else "fail", ", ".join(devices) or "no devices")


def check_tensorrt() -> Check:
    """An NVIDIA GPU and a TensorRT that fits it; both optional."""
    gpu = Path("/dev/nvidia0").exists() or Path("/dev/nvhost-gpu").exists() or Path("/dev/nvgpu").exists()
    if not gpu:
        return Check("gpu", "ok", "no NVIDIA GPU: OpenVINO on the CPU is used")
    pack = jetpack()
    if wrong := mismatch(pack, driver()):
        return Check("gpu", "warn", wrong.found, wrong.remedy)
    if importlib.util.find_spec("tensorrt") is None:
        return Check("gpu", "warn", "NVIDIA GPU without TensorRT", "pip install 'dferstream[tensorrt]'")
    return Check("gpu", "ok", f"{pack.name if pack else 'NVIDIA GPU'} with TensorRT")


def check_run_directory(directory: Path = RUN_DIRECTORY) -> Check:
    """The directory of the default ipc endpoint."""
    if not directory.is_dir():
        found = f"{directory} is not there: tcp://127.0.0.1:5570 is used"
        return Check("run directory", "warn", found, f"systemd makes it; by hand: install -d -m 0750 {directory}")
    if not os.access(directory, os.W_OK | os.X_OK):
        return Check("run directory", "warn", f"{directory} is not ours", f"chown USER {directory}")
    return Check("run directory", "ok", str(directory))


def check_zeromq() -> Check:
    """A round trip over an ipc socket."""
    if importlib.util.find_spec("zmq") is None:
        return Check("zeromq", "fail", "pyzmq is missing", "pip install pyzmq")
    zmq = importlib.import_module("zmq")
    with tempfile.TemporaryDirectory() as folder:
        context = zmq.Context()
        try:
            with context.socket(zmq.PAIR) as near, context.socket(zmq.PAIR) as far:
                near.linger = far.linger = 0
                near.bind(f"ipc://{folder}/probe")
                far.connect(f"ipc://{folder}/probe")
                far.send(b"probe")
                good = bool(near.poll(2000)) and near.recv() == b"probe"
        except zmq.ZMQError as error:
            return Check("zeromq", "fail", f"ipc: {error}", "use --bind tcp://127.0.0.1:5570, or free the temp folder")
        finally:
            context.term()
    if not good:
        return Check("zeromq", "fail", "ipc: no answer", "use --bind tcp://127.0.0.1:5570")
    return Check("zeromq", "ok", f"libzmq {zmq.zmq_version()}, ipc works")


def check_gstreamer() -> Check:
    """GStreamer's launcher, for ``gst://`` and ``csi://`` only."""
    program = shutil.which("gst-launch-1.0")
    if program is None:
        remedy = "apt-get install gstreamer1.0-tools gstreamer1.0-plugins-base"
        return Check("gstreamer", "warn", "not installed: no gst:// and csi:// sources", remedy)
    return Check("gstreamer", "ok", program)


CHECKS: tuple[Callable[[], Check], ...] = (
    check_python,
    check_libraries,
    check_packages,
    check_own_packages,
    check_face_nets,
    check_cameras,
    check_groups,
    check_openvino,
    check_tensorrt,
    check_run_directory,
    check_zeromq,
    check_gstreamer,
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of ``dfer-stream doctor``."""
    parser.add_argument("--json", action="store_true", help="print a JSON object instead of a table")


def run(args: argparse.Namespace) -> int:
    """Run all checks and print them; ``PARTLY`` where the daemon cannot run here."""
    findings = [check() for check in CHECKS]
    failed = any(finding.status == "fail" for finding in findings)
    if args.json:
        print(json.dumps({"ok": not failed, "checks": [asdict(finding) for finding in findings]}, indent=2))
        return Exit.PARTLY if failed else Exit.DONE
    width = max(len(finding.name) for finding in findings)
    for finding in findings:
        say(f"{finding.status:<5} {finding.name:<{width}}  {finding.found}", sys.stdout)
        if finding.remedy:
            say(f"      {'':<{width}}  → {finding.remedy}", sys.stdout)
    print("The daemon can run here." if not failed else "The daemon cannot run here yet: see the lines marked fail.")
    return Exit.PARTLY if failed else Exit.DONE
