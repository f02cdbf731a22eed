"""Listing V4L2 devices, against a kernel that answers from a table (no machine of ours has a camera)."""

from __future__ import annotations

import errno
import json
import struct
from pathlib import Path

import pytest

from stream.camera import CameraError
from stream.camera.devices import (
    ENUM_FMT,
    ENUM_FRAMEINTERVALS,
    ENUM_FRAMESIZES,
    QUERYCAP,
    describe_devices,
    list_devices,
)
from stream.cli import main
from stream.commands import devices as command

MJPG, YUYV = (struct.unpack("=I", code)[0] for code in (b"MJPG", b"YUYV"))


def kernel(capabilities: int) -> object:
    formats = [MJPG, YUYV]
    sizes = {MJPG: [(1280, 720), (640, 480)], YUYV: [(640, 480)]}

    def ioctl(_: int, request: int, data: bytearray) -> int:
        index, second, *more = struct.unpack_from("=IIII", data)
        if request == QUERYCAP:
            struct.pack_into(
                "=16s32s32sIII",
                data,
                0,
                b"uvcvideo",
                b"HD Cam",
                b"usb-1.2",
                0x60000,
                0x80000000 | capabilities,
                capabilities,
            )
        elif request == ENUM_FMT and index < len(formats):
            struct.pack_into("=III32sI", data, 0, index, 1, 0, b"format", formats[index])
        elif request == ENUM_FRAMESIZES and index < len(sizes[second]):
            struct.pack_into("=IIIII", data, 0, index, second, 1, *sizes[second][index])
        elif request == ENUM_FRAMEINTERVALS and index < 2:
            struct.pack_into("=IIIIIII", data, 0, index, second, *more, 1, 1, (30, 15)[index])
        else:
            raise OSError(errno.EINVAL, "end of list")
        return 0

    return ioctl


@pytest.fixture
def machine(tmp_path: Path) -> tuple[Path, Path]:
    for name in ("video0", "video10", "video2"):
        (tmp_path / "sys" / name).mkdir(parents=True)
        (tmp_path / "sys" / name / "name").write_text(f"Card {name}\n")
    (tmp_path / "dev").mkdir()
    for name in ("video0", "video10"):
        (tmp_path / "dev" / name).touch()
    return tmp_path / "sys", tmp_path / "dev"


def test_request_numbers_are_those_of_videodev2_h() -> None:
    assert [hex(n) for n in (QUERYCAP, ENUM_FMT, ENUM_FRAMESIZES, ENUM_FRAMEINTERVALS)] == [
        "0x80685600",
        "0xc0405602",
        "0xc02c564a",
        "0xc034564b",
    ]


def test_devices_with_formats_in_order(machine: tuple[Path, Path]) -> None:
    devices = list_devices(*machine, ioctl=kernel(1))  # type: ignore[arg-type]
    assert [d.uri.rpartition("/")[2] for d in devices] == ["video0", "video2", "video10"]
    first = devices[0]
    assert (first.name, first.bus, first.problem) == ("HD Cam", "usb-1.2", "")
    assert [(m.fourcc, m.width, m.height, m.fps) for m in first.modes] == [
        ("MJPG", 1280, 720, (30.0, 15.0)),
        ("MJPG", 640, 480, (30.0, 15.0)),
        ("YUYV", 640, 480, (30.0, 15.0)),
    ]
    assert "does not open" in devices[1].problem
    text = describe_devices(devices)
    assert "MJPG  1280x720  30, 15 fps" in text


def test_nodes_that_do_not_capture_are_left_out(machine: tuple[Path, Path]) -> None:
    devices = list_devices(*machine, ioctl=kernel(0x00800000))  # type: ignore[arg-type]
    assert [d.uri.rpartition("/")[2] for d in devices] == ["video2"]


def test_a_node_that_is_no_v4l2_device_is_told_not_thrown(machine: tuple[Path, Path]) -> None:
    assert "does not answer" in list_devices(*machine)[0].problem


def test_none_is_a_clear_message(tmp_path: Path) -> None:
    assert list_devices(tmp_path / "nowhere") == []
    with pytest.raises(CameraError, match="demo://"):
        describe_devices([])


def test_the_command_without_a_camera(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(command, "list_devices", lambda: list_devices(tmp_path))
    assert main(["devices"]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("dfer-stream devices: no camera found")
    assert main(["devices", "--json"]) == 2
    assert json.loads(capsys.readouterr().out) == []


def test_the_command_with_cameras(
    machine: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(command, "list_devices", lambda: list_devices(*machine, ioctl=kernel(1)))  # type: ignore[arg-type]
    assert main(["devices", "--json"]) == 0
    listed = json.loads(capsys.readouterr().out)
    assert listed[0]["modes"][0] == {"fourcc": "MJPG", "width": 1280, "height": 720, "fps": [30.0, 15.0]}
    assert main(["devices"]) == 0
    assert "HD Cam" in capsys.readouterr().out
