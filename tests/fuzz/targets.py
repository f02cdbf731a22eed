"""What reads bytes of any origin, each as a function that must neither raise, hang nor fill the memory.

A refusal is what the reader says it raises; anything else that comes out is a finding.
"""

from __future__ import annotations

import contextlib
import json
import struct
import tempfile
import zlib
from collections.abc import Callable, Iterator
from functools import cache
from io import BytesIO
from pathlib import Path
from typing import Any

import av
import zmq
import zmq.auth

from engine.bundle.bundle import Bundle
from engine.errors import DferError
from engine.settings import load
from engine.text import printable_json
from stream.apps.broker.relay import Relay
from stream.camera.drivers.jpeg import decode_jpeg, jpeg_size
from stream.camera.frame import CameraError, FrameLost, check_size
from stream.camera.video.decoder import Decoder
from stream.config import Settings
from stream.publish import keys
from stream.publish.message import MessageError
from stream.publish.wire import decode_frame, decode_picture, encode
from stream.recording.mcap_file import McapFile
from stream.recording.reading import McapReader
from stream.recording.recorder import Recorder
from tests.stream.recording.wire import BEGUN_NS, event, faces, frame, stream

Target = Callable[[bytes], None]
_MOST_PACKETS = 8
_MOST_PIXELS = 640 * 480


@cache
def _folder() -> Path:
    """In memory: files are written for every input."""
    shared = Path("/dev/shm")
    return Path(tempfile.mkdtemp(prefix="fuzz-", dir=shared if shared.is_dir() else None))


def _file(name: str, data: bytes) -> Path:
    path = _folder() / name
    path.write_bytes(data)
    return path


def settings(data: bytes) -> None:
    """A settings file."""
    path = _file("settings.toml", data)
    with contextlib.suppress(DferError):
        load(Settings, path)


def bundle(data: bytes) -> None:
    """The manifest of a bundle."""
    folder = _folder() / "bundle"
    folder.mkdir(exist_ok=True)
    (folder / "bundle.json").write_bytes(data)
    with contextlib.suppress(DferError):
        Bundle.open(folder)


def key(data: bytes) -> None:
    """A key file, alone and in a folder of allowed ones."""
    folder = _folder() / "keys"
    folder.mkdir(exist_ok=True)
    path = folder / "x.key"
    path.write_bytes(data)
    path.chmod(0o600)
    for read in (keys.load_public, keys.load_pair):
        with contextlib.suppress(DferError):
            read(path)
    with contextlib.suppress(DferError):
        keys.AllowedKeys(folder).callback("dferstream", data[:40])


class _Replies:
    def send_multipart(self, frames: list[bytes]) -> None:
        assert frames[2] in (b"200", b"400", b"500"), frames


def zap(data: bytes) -> None:
    """What libzmq asks of a key's owner (RFC 27): the fields of a request, split at zero bytes."""
    folder = _folder() / "allowed"
    if not folder.exists():
        folder.mkdir()
        (folder / "x.key").write_text(f'public-key = "{zmq.curve_keypair()[0].decode()}"\n')
    authenticator = zmq.auth.Authenticator(zmq.Context.instance())
    authenticator.zap_socket = _Replies()  # type: ignore[assignment]
    authenticator.configure_curve_callback(domain="dferstream", credentials_provider=keys.AllowedKeys(folder))
    fields = [*data.split(b"\0", 6), *[b""] * 6][:6]
    mechanism = (b"CURVE", b"NULL", b"PLAIN", fields[5])[len(data) % 4]
    asked = [b"1.0", b"7", b"dferstream" if len(data) % 3 else fields[0], fields[1], fields[2], mechanism]
    credentials = [(fields[3] + bytes(32))[:32]] if mechanism == b"CURVE" else fields[3:5]
    made: Any = authenticator.handle_zap_message([*asked, *credentials])
    with contextlib.suppress(StopIteration, UnicodeDecodeError):
        made.send(None)


def recording(data: bytes) -> None:
    """A recording."""
    reader = None
    with contextlib.suppress(DferError):
        reader = McapReader(_file("x.mcap", data))
    if reader is not None:
        for each in reader:
            assert each.source


def chunk(data: bytes) -> None:
    """The records of a chunk whose checksum holds."""
    head = struct.pack("<QQQI", 0, 0, len(data), zlib.crc32(data)) + struct.pack("<I", 0)
    content = head + struct.pack("<Q", len(data)) + data
    recording(b"\x89MCAP0\r\n" + struct.pack("<BQ", 6, len(content)) + content)


class _Nowhere:
    def write(self, topic: str, body: bytes, log_ns: int) -> None:
        assert topic.isprintable()

    def trigger(self, log_ns: int) -> None:
        return


def wire(data: bytes) -> None:
    """A frame of another publisher, in client, broker and recorder."""
    for read in (decode_frame, decode_picture):
        with contextlib.suppress(MessageError):
            read(data)
    assert printable_json(data).isprintable()
    Relay(("faces", "status", "event"), lambda line: None).passes(data, "a", 0)
    Recorder(_Nowhere(), (), lambda line: None).take(data, 0)  # type: ignore[arg-type]


def mjpeg(data: bytes) -> None:
    """A network camera's stream: parts by FFmpeg, their sizes before anything is decoded, then pictures."""
    with contextlib.suppress(FrameLost):
        size = jpeg_size(data)
        if size is not None and size[0] * size[1] <= _MOST_PIXELS:
            decode_jpeg(data)
    with (
        contextlib.suppress(av.FFmpegError, OSError, ValueError),
        av.open(BytesIO(data), "r", format="mpjpeg") as container,
    ):
        if not container.streams.video:
            return
        made = container.streams.video[0]
        decoder = Decoder(made, joins=True, low_delay=True)
        for number, packet in enumerate(container.demux(made)):
            size = jpeg_size(bytes(packet)) if packet.size else None
            with contextlib.suppress(CameraError, FrameLost):
                if size is not None:
                    check_size(*size)
                if size is None or size[0] * size[1] <= _MOST_PIXELS:
                    decoder.decode(packet)
            if number >= _MOST_PACKETS:
                return


TARGETS: dict[str, Target] = {
    each.__name__: each for each in (settings, bundle, key, zap, recording, chunk, wire, mjpeg)
}


def seeds(name: str) -> Iterator[bytes]:
    """Good inputs, from which the others are made."""
    root = Path(__file__).resolve().parents[2]
    if name == "settings":
        yield (root / "systemd" / "dferstream.toml").read_bytes()
        yield b'[source]\nuri = "rtsp://a:b@c/d"\nroi = [0, 0, 1, 1]\n[camera]\nfps = 30\n[publish]\nbind = "tcp://127.0.0.1:1"\n'
    elif name == "bundle":
        whole = json.loads((root / "stream" / "default_model" / "bundle.json").read_text())
        yield json.dumps({k: v for k, v in whole.items() if k not in ("provenance", "metrics")}).encode()
    elif name == "key":
        public, secret = (half.decode() for half in zmq.curve_keypair())
        yield f'metadata\ncurve\n    public-key = "{public}"\n    secret-key = "{secret}"\n'.encode()
    elif name == "zap":
        yield b"dferstream\x00127.0.0.1\x00x\x00" + b"k" * 32
    elif name == "recording":
        yield _recorded()
    elif name == "chunk":
        channel = struct.pack("<HHI", 0, 0, 10) + b"faces/cam1" + struct.pack("<I", 4) + b"json" + struct.pack("<I", 0)
        message = struct.pack("<HIQQ", 0, 0, 1, 1) + b"{}"
        yield struct.pack("<BQ", 4, len(channel)) + channel + struct.pack("<BQ", 5, len(message)) + message
    elif name == "wire":
        yield from (frame(1), event(2), b"status/cam1 " + encode(faces(3)))
    elif name == "mjpeg":
        from tests.stream.camera.drivers.mjpeg_server import jpeg

        picture = jpeg(32, 24)
        part = b"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n" % len(picture) + picture + b"\r\n"
        yield part * 2
        yield picture


def _recorded() -> bytes:
    path = _folder() / "seed.mcap"
    path.unlink(missing_ok=True)
    file = McapFile(path, BEGUN_NS)
    for sent, log_ns in stream(40):
        topic, _, body = sent.partition(b" ")
        file.write(topic.decode(), body, log_ns)
    file.close()
    return path.read_bytes()
