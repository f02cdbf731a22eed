"""The V4L2 cameras of this machine with their formats.

Asks the kernel directly (``linux/videodev2.h``): OpenCV cannot list devices. Opening a device for questions
disturbs nobody who is streaming from it.
"""

from __future__ import annotations

import fcntl
import os
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from engine.text import printable
from stream.camera.frame import CameraError

SYSFS = Path("/sys/class/video4linux")
_CAPTURE = 0x1
_HAS_DEVICE_CAPS = 0x80000000
_BUFFER_TYPE_CAPTURE = 1
_DISCRETE = 1

# struct v4l2_capability, v4l2_fmtdesc, v4l2_frmsizeenum and v4l2_frmivalenum.
_CAPABILITY = struct.Struct("=16s32s32sIII12x")
_FORMAT = struct.Struct("=III32sII12x")
_FRAME_SIZE = struct.Struct("=III6I8x")
_INTERVAL = struct.Struct("=IIIII6I8x")

Ioctl = Callable[[int, int, bytearray], int]


def _request(direction: int, number: int, layout: struct.Struct) -> int:
    return direction << 30 | layout.size << 16 | ord("V") << 8 | number


QUERYCAP = _request(2, 0, _CAPABILITY)
ENUM_FMT = _request(3, 2, _FORMAT)
ENUM_FRAMESIZES = _request(3, 74, _FRAME_SIZE)
ENUM_FRAMEINTERVALS = _request(3, 75, _INTERVAL)


@dataclass(frozen=True)
class Mode:
    """One picture format of a device.

    Attributes:
        fourcc: Four letters, as ``CameraSettings.fourcc`` takes them.
        width: px; for a range, the largest.
        height: px.
        fps: Rates in frames/s, highest first; empty where the driver does not say.
    """

    fourcc: str
    width: int
    height: int
    fps: tuple[float, ...]


@dataclass(frozen=True)
class Device:
    """One camera.

    Attributes:
        uri: What to give as ``--source``.
        name: The card's name.
        bus: Where it is plugged in.
        modes: Its formats; empty where it cannot be opened.
        problem: Why it cannot be opened, with the remedy; empty where it can.
    """

    uri: str
    name: str
    bus: str = ""
    modes: tuple[Mode, ...] = ()
    problem: str = ""


def list_devices(sysfs: Path = SYSFS, dev: Path = Path("/dev"), ioctl: Ioctl = fcntl.ioctl) -> list[Device]:
    """List the devices that capture video, by number.

    Args:
        sysfs: The kernel's list of video devices.
        dev: Where their nodes are.
        ioctl: ``fcntl.ioctl``, or a stand-in for a test without a camera.

    Returns:
        Cameras; nodes that only carry metadata or output are left out.
    """
    if not sysfs.is_dir():
        return []
    found = []
    for entry in sorted(sysfs.glob("video*"), key=lambda path: (len(path.name), path.name)):
        name_file = entry / "name"
        name = name_file.read_text().strip() if name_file.is_file() else entry.name
        device = _ask(dev / entry.name, name, ioctl)
        if device is not None:
            found.append(device)
    return found


def _ask(node: Path, name: str, ioctl: Ioctl) -> Device | None:
    uri = f"v4l2://{node}"
    try:
        fd = os.open(node, os.O_RDWR | os.O_NONBLOCK)
    except PermissionError:
        return Device(uri, name, problem="not permitted: usermod -aG video USER, then log in again")
    except OSError as error:
        return Device(uri, name, problem=f"does not open: {error.strerror}")
    try:
        answer = bytearray(_CAPABILITY.size)
        ioctl(fd, QUERYCAP, answer)
        _, card, bus, _, capabilities, device_capabilities = _CAPABILITY.unpack(answer)
        # One camera has several nodes; only those that capture are of use.
        own = device_capabilities if capabilities & _HAS_DEVICE_CAPS else capabilities
        if not own & _CAPTURE:
            return None
        return Device(uri, _text(card) or name, _text(bus), tuple(_modes(fd, ioctl)))
    except OSError as error:
        return Device(uri, name, problem=f"does not answer: {error.strerror}")
    finally:
        os.close(fd)


def _enumerate(fd: int, ioctl: Ioctl, request: int, layout: struct.Struct, *fixed: int) -> Iterator[tuple[int, ...]]:
    for index in range(256):
        head = struct.pack(f"={1 + len(fixed)}I", index, *fixed)
        answer = bytearray(head.ljust(layout.size, b"\0"))
        try:
            ioctl(fd, request, answer)
        except OSError:
            # EINVAL is how the kernel ends a list.
            return
        yield layout.unpack(answer)


def _modes(fd: int, ioctl: Ioctl) -> Iterator[Mode]:
    for _, _, _, _, pixels, _ in _enumerate(fd, ioctl, ENUM_FMT, _FORMAT, _BUFFER_TYPE_CAPTURE):
        fourcc = struct.pack("=I", pixels).decode("latin-1")
        for size in _enumerate(fd, ioctl, ENUM_FRAMESIZES, _FRAME_SIZE, pixels):
            kind, values = size[2], size[3:]
            # Discrete: width, height. Stepwise: min, max, step of the width, then of the height.
            width, height = (values[0], values[1]) if kind == _DISCRETE else (values[1], values[4])
            rates = []
            for interval in _enumerate(fd, ioctl, ENUM_FRAMEINTERVALS, _INTERVAL, pixels, width, height):
                seconds, parts = interval[5], interval[6]
                if seconds:
                    rates.append(round(parts / seconds, 2))
                if interval[4] != _DISCRETE:
                    break
            yield Mode(fourcc, width, height, tuple(sorted(set(rates), reverse=True)))


def _text(raw: bytes) -> str:
    return raw.split(b"\0", 1)[0].decode(errors="replace")


def describe_devices(devices: list[Device]) -> str:
    """Write devices as text for a terminal.

    Raises:
        CameraError: If there are none; the message says what to do.
    """
    if not devices:
        raise CameraError(
            "no camera found under /dev/video*",
            "plug one in, pass it into the container (--device /dev/video0), or try --source demo://",
        )
    lines = []
    for device in devices:
        lines.append(f"{device.uri}  {device.name}" + (f"  ({device.bus})" if device.bus else ""))
        if device.problem:
            lines.append(f"    {device.problem}")
        for mode in device.modes:
            rates = ", ".join(f"{rate:g}" for rate in mode.fps)
            lines.append(f"    {mode.fourcc}  {mode.width}x{mode.height}" + (f"  {rates} fps" if rates else ""))
    return "\n".join(map(printable, lines))
