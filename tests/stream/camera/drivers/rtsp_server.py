"""An RTSP camera on the loopback that says what a test has it say: RTP inside the connection (RFC 2326, 10.12)."""

from __future__ import annotations

import base64
import socketserver
import struct
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction

import av
import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.uint8]
CLOCK_HZ = 90_000
"""Of RTP time stamps of video (RFC 6184, 8.2.1)."""


@dataclass(frozen=True)
class Sent:
    """A frame on its way.

    Attributes:
        payloads: Of its RTP packets, in order; the last bears the marker.
        jump_s: By how much its time stamp is later than a period after the one before, s.
    """

    payloads: list[bytes]
    jump_s: float = 0.0


def h264_sdp(fps: int) -> str:
    """What describes a camera of H.264."""
    return (
        "v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\ns=camera\r\nc=IN IP4 0.0.0.0\r\nt=0 0\r\nm=video 0 RTP/AVP 96\r\n"
        f"a=rtpmap:96 H264/90000\r\na=framerate:{fps}\r\na=fmtp:96 packetization-mode=1\r\na=control:track0\r\n"
    )


def h264_frames(pictures: list[Image], fps: int, group: int) -> list[Sent]:
    """Pictures of one size as H.264, each a few whole NAL units; every group of frames begins with its own SPS."""
    codec = av.CodecContext.create("libx264", "w")
    codec.height, codec.width = pictures[0].shape[:2]
    codec.pix_fmt, codec.time_base, codec.thread_count = "yuv420p", Fraction(1, fps), 1
    codec.options = {"preset": "ultrafast", "tune": "zerolatency", "crf": "26", "g": str(group)}
    made = []
    for image in [*pictures, None]:
        frame = None if image is None else av.VideoFrame.from_ndarray(image, format="rgb24")
        for packet in codec.encode(frame):
            units = [unit for unit in bytes(packet).replace(b"\0\0\0\1", b"\0\0\1").split(b"\0\0\1") if unit]
            # RFC 6184, 5.6, one unit a packet: the length of a packet inside the connection has 16 bits.
            assert max(map(len, units)) < 65_000
            made.append(Sent(units))
    assert len(made) == len(pictures)
    return made


Frames = Callable[[int], Iterable[Sent]]
"""The frames of a session, given its number from 0; the connection ends after the last."""


class RtspServer(socketserver.ThreadingTCPServer):
    """Plays ``frames`` to whoever asks, ``fps`` of them a second; ``password`` of the user ``user`` may be wanted."""

    allow_reuse_address = True
    daemon_threads = True
    block_on_close = False

    def __init__(self, sdp: str, frames: Frames, fps: int, password: str = "", port: int = 0) -> None:
        super().__init__(("127.0.0.1", port), _Session)
        self.sdp, self.frames, self.fps, self.password = sdp, frames, fps, password
        self.gone = threading.Event()
        self.sessions = 0

    @property
    def port(self) -> int:
        """Where it listens."""
        return int(self.server_address[1])

    def url(self, login: str = "") -> str:
        """Its URL; ``login`` ends in ``@``."""
        return f"rtsp://{login}127.0.0.1:{self.port}/live"

    def stop(self) -> None:
        """Hang up and refuse whoever comes; may be called twice."""
        self.gone.set()
        self.shutdown()
        self.server_close()


@contextmanager
def rtsp_serving(sdp: str, frames: Frames, fps: int, password: str = "", port: int = 0) -> Iterator[RtspServer]:
    """A running camera."""
    server = RtspServer(sdp, frames, fps, password, port)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    try:
        yield server
    finally:
        server.stop()


class _Session(socketserver.StreamRequestHandler):
    server: RtspServer

    def handle(self) -> None:
        wanted = "Basic " + base64.b64encode(f"user:{self.server.password}".encode()).decode()
        while line := self.rfile.readline():
            method, url, _ = line.decode().split()
            headers = {}
            while (text := self.rfile.readline().decode().strip()) != "":
                key, _, value = text.partition(":")
                headers[key.lower()] = value.strip()
            cseq = headers["cseq"]
            if self.server.password and method != "OPTIONS" and headers.get("authorization") != wanted:
                self._say(
                    f'RTSP/1.0 401 Unauthorized\r\nCSeq: {cseq}\r\nWWW-Authenticate: Basic realm="camera"\r\n\r\n'
                )
                continue
            reply = f"RTSP/1.0 200 OK\r\nCSeq: {cseq}\r\n"
            if method == "OPTIONS":
                reply += "Public: OPTIONS, DESCRIBE, SETUP, PLAY, TEARDOWN\r\n"
            elif method == "DESCRIBE":
                length = len(self.server.sdp)
                reply += f"Content-Base: {url}/\r\nContent-Type: application/sdp\r\nContent-Length: {length}\r\n"
            elif method == "SETUP":
                reply += "Session: 1\r\nTransport: RTP/AVP/TCP;unicast;interleaved=0-1\r\n"
            else:
                reply += "Session: 1\r\n"
            self._say(reply + "\r\n" + (self.server.sdp if method == "DESCRIBE" else ""))
            if method == "PLAY":
                number, self.server.sessions = self.server.sessions, self.server.sessions + 1
                self._stream(number)
                return

    def _say(self, text: str) -> None:
        self.wfile.write(text.encode())

    def _stream(self, number: int) -> None:
        sequence, stamp = 0, 0
        for frame in self.server.frames(number):
            if self.server.gone.wait(1 / self.server.fps):
                return
            stamp += CLOCK_HZ // self.server.fps + round(frame.jump_s * CLOCK_HZ)
            for left, payload in zip(reversed(range(len(frame.payloads))), frame.payloads, strict=True):
                marker = 0x80 if left == 0 else 0
                packet = struct.pack(">BBHII", 0x80, marker | 96, sequence & 0xFFFF, stamp & 0xFFFFFFFF, 7) + payload
                try:
                    self.wfile.write(struct.pack(">BBH", 0x24, 0, len(packet)) + packet)
                except OSError:
                    return
                sequence += 1
