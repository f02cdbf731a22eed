"""An HTTP camera on the loopback that says what a test has it say, part by part."""

from __future__ import annotations

import base64
import http.server
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

import cv2
import numpy as np

Parts = Callable[[int], Iterable[bytes]]
"""The JPEGs of a connection, given its number from 0; the connection ends after the last."""
PERIOD_S = 1 / 50


def jpeg(width: int, height: int, level: int = 200) -> bytes:
    """A picture whose left quarter is red, and the rest grey."""
    picture = np.full((height, width, 3), level, np.uint8)
    picture[:, : width // 4] = (0, 0, 255)
    return cv2.imencode(".jpg", picture)[1].tobytes()


class ScriptedCamera(http.server.ThreadingHTTPServer):
    """Streams ``parts`` on every path, or gives ``text``; ``redirects`` go elsewhere; ``credentials`` may be wanted."""

    daemon_threads = True
    block_on_close = False

    def __init__(self, parts: Parts, redirects: dict[str, str] | None = None, host: str = "127.0.0.1") -> None:
        super().__init__((host, 0), _Stream)
        self.parts, self.redirects = parts, redirects or {}
        self.gone = threading.Event()
        self.asked: list[str] = []
        self.connections = 0
        self.credentials = ""
        self.text = ""

    def url(self, path: str = "/video") -> str:
        """A URL of this camera."""
        return f"http://{self.server_address[0]!s}:{self.server_port}{path}"


class _Stream(http.server.BaseHTTPRequestHandler):
    server: ScriptedCamera

    def do_GET(self) -> None:
        self.server.asked.append(self.path)
        wanted = base64.b64encode(self.server.credentials.encode()).decode()
        if self.server.credentials and self.headers.get("Authorization") != f"Basic {wanted}":
            self.send_response(401)
            self.send_header("WWW-Authenticate", 'Basic realm="camera"')
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        if self.server.text:
            self.send_response(200)
            self.send_header("Content-Type", "application/vnd.apple.mpegurl")
            self.send_header("Content-Length", str(len(self.server.text)))
            self.end_headers()
            self.wfile.write(self.server.text.encode())
            return
        if self.path in self.server.redirects:
            self.send_response(302)
            self.send_header("Location", self.server.redirects[self.path])
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        number = self.server.connections
        self.server.connections += 1
        self.send_response(200)
        self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=frame")
        self.end_headers()
        for data in self.server.parts(number):
            head = b"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n" % len(data)
            try:
                self.wfile.write(head + data + b"\r\n")
            except OSError:
                return
            if self.server.gone.wait(PERIOD_S):
                return

    def log_message(self, *_: object) -> None:
        return


@contextmanager
def serving(parts: Parts, redirects: dict[str, str] | None = None, host: str = "127.0.0.1") -> Iterator[ScriptedCamera]:
    """A running camera."""
    server = ScriptedCamera(parts, redirects, host)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield server
    finally:
        server.gone.set()
        server.shutdown()
        server.server_close()
