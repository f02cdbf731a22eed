"""RTSP from a small real server on loopback: uncompressed RTP video (RFC 4175) inside the connection (RFC 2326)."""

from __future__ import annotations

import base64
import socketserver
import struct
import threading
from collections.abc import Iterator

import pytest

from stream.camera import Camera, CameraSettings
from tests.stream.camera.reading import read_until

WIDTH, HEIGHT, FPS = 64, 48, 50
SDP = (
    "v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\ns=camera\r\nc=IN IP4 0.0.0.0\r\nt=0 0\r\nm=video 0 RTP/AVP 96\r\n"
    f"a=rtpmap:96 raw/90000\r\na=framerate:{FPS}\r\n"
    f"a=fmtp:96 sampling=YCbCr-4:2:2; width={WIDTH}; height={HEIGHT}; depth=8\r\na=control:track0\r\n"
)
PASSWORD = "p@:/%ss"


class RtspServer(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True
    block_on_close = False

    def __init__(self, port: int = 0) -> None:
        super().__init__(("127.0.0.1", port), _Session)
        self.gone = threading.Event()
        self.sessions = 0
        threading.Thread(target=self.serve_forever, daemon=True).start()

    @property
    def port(self) -> int:
        return int(self.server_address[1])

    def stop(self) -> None:
        self.gone.set()
        self.shutdown()
        self.server_close()


class _Session(socketserver.StreamRequestHandler):
    server: RtspServer

    def handle(self) -> None:
        wanted = base64.b64encode(f"user:{PASSWORD}".encode()).decode()
        while line := self.rfile.readline():
            method, url, _ = line.decode().split()
            headers = {}
            while (text := self.rfile.readline().decode().strip()) != "":
                key, _, value = text.partition(":")
                headers[key.lower()] = value.strip()
            cseq = headers["cseq"]
            if method != "OPTIONS" and headers.get("authorization") != f"Basic {wanted}":
                self._say(
                    f'RTSP/1.0 401 Unauthorized\r\nCSeq: {cseq}\r\nWWW-Authenticate: Basic realm="camera"\r\n\r\n'
                )
                continue
            reply = f"RTSP/1.0 200 OK\r\nCSeq: {cseq}\r\n"
            if method == "OPTIONS":
                reply += "Public: OPTIONS, DESCRIBE, SETUP, PLAY, TEARDOWN\r\n"
            elif method == "DESCRIBE":
                reply += f"Content-Base: {url}/\r\nContent-Type: application/sdp\r\nContent-Length: {len(SDP)}\r\n"
            elif method == "SETUP":
                reply += "Session: 1\r\nTransport: RTP/AVP/TCP;unicast;interleaved=0-1\r\n"
            else:
                reply += "Session: 1\r\n"
            self._say(reply + "\r\n" + (SDP if method == "DESCRIBE" else ""))
            if method == "PLAY":
                self.server.sessions += 1
                self._stream()
                return

    def _say(self, text: str) -> None:
        self.wfile.write(text.encode())

    def _stream(self) -> None:
        # One RTP packet per frame: a header per line, then the lines as U Y V Y.
        row = bytes((90, 81, 240, 81)) * (WIDTH // 2)  # BT.601 red
        lines = b"".join(struct.pack(">HHH", len(row), n, 0x8000 if n < HEIGHT - 1 else 0) for n in range(HEIGHT))
        payload = struct.pack(">H", 0) + lines + row * HEIGHT
        count = 0
        while not self.server.gone.wait(1 / FPS):
            packet = struct.pack(">BBHII", 0x80, 0x80 | 96, count & 0xFFFF, count * 90000 // FPS, 7) + payload
            try:
                self.wfile.write(struct.pack(">BBH", 0x24, 0, len(packet)) + packet)
            except OSError:
                return
            count += 1


@pytest.fixture
def server() -> Iterator[RtspServer]:
    made = RtspServer()
    yield made
    made.stop()


SETTINGS = CameraSettings(backoff_min_ms=20, backoff_max_ms=100, read_timeout_ms=1000)


def test_rtsp_with_credentials_and_a_server_that_comes_back(server: RtspServer) -> None:
    # '@', ':' and '%' as a user pastes them; only '/' has to be an escape.
    with Camera(f"rtsp://user:p@:%2F%ss@127.0.0.1:{server.port}/live", SETTINGS) as camera:
        frames = read_until(camera, lambda: camera.stats.delivered >= 5)
        assert frames[-1].image.shape == (HEIGHT, WIDTH, 3)
        red, green, blue = (int(v) for v in frames[-1].image[20, 20])
        assert red > 200
        assert max(green, blue) < 40
        server.stop()
        read_until(camera, lambda: camera.state == "no_camera")
        again = RtspServer(server.port)
        read_until(camera, lambda: camera.state == "ok")
        assert (camera.stats.reconnects, camera.stats.restarts) == (1, 0)
        again.stop()


def test_a_wrong_password_is_refused_and_not_printed(server: RtspServer) -> None:
    with Camera(f"rtsp://user:S3cret@127.0.0.1:{server.port}/live", SETTINGS) as camera:
        read_until(camera, lambda: "credentials" in camera.stats.message)
        assert camera.state == "no_camera"
        assert "S3cret" not in camera.stats.message
        assert server.sessions == 0
