"""Network cameras over HTTP and RTSP, through FFmpeg's libraries. Runs in the capture process."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator

import av
import av.logging

from stream.camera.driver import Opened, Raw, SourceLost
from stream.camera.drivers.jpeg import jpeg_size
from stream.camera.drivers.redirect import own_redirect
from stream.camera.frame import CameraError, FrameLost, check_size
from stream.camera.settings import CameraSettings
from stream.camera.uri import SourceUri
from stream.camera.video.container import declared_fps, open_stream, picture_stream, pixel_aspect
from stream.camera.video.decoder import Decoded, Decoder
from stream.camera.video.deinterlace import Deinterlacer
from stream.camera.video.picture import PictureMaker, square

# low_delay: a frame as soon as it can be. No nobuffer: it throws away what the probe read, the first key frame with it,
# and all is grey until the second. A declared transport, since UDP loses slices behind most routers. No redirect is
# followed, and no playlist is a camera: both lead to hosts that nobody configured.
_OPTIONS = {
    "http": {
        "flags": "low_delay",
        "max_redirects": "0",
        "protocol_whitelist": "http,https,tls,tcp",
        "format_whitelist": "mpjpeg,mjpeg,jpeg_pipe,mpegts,mpeg,mpegvideo,m4v,h264,hevc,obu,ivf,flv,mov,matroska,ogg,"
        "avi,asf,nut",
    },
    "rtsp": {
        "rtsp_transport": "tcp",
        "flags": "low_delay",
        "protocol_whitelist": "rtsp,rtsps,rtp,srtp,tls,tcp,udp",
    },
}
_WAITED_NS = 2_000_000
"""A packet that took longer than this to come had to be waited for: what follows is live."""
_STALE_NS = 1_000_000_000
"""Longest after connecting that frames are left out as those of FFmpeg's probe, which come all at once."""
_WHOLE_PICTURES = ("mjpeg", "rawvideo", "prores", "dvvideo", "png", "jpeg2000")
"""Codecs whose pictures stand by themselves: a sensor's noise reaches us, and never repeats."""


class NetworkDriver:
    """A stream, drained as fast as it comes: a slow reader of FFMPEG's own queue saw frames 4 s old."""

    def __init__(self, uri: SourceUri, settings: CameraSettings) -> None:
        self._uri = uri
        self._settings = settings
        self._container: av.container.InputContainer | None = None
        self._ready: deque[Decoded] = deque()
        self._stale: deque[Decoded] = deque(maxlen=1)
        self._over: SourceLost | None = None

    def open(self) -> Opened:
        """Connect."""
        deadline_ns = time.monotonic_ns() + self._settings.open_timeout_ms * 1_000_000
        container = self._connect(self._uri.target)
        # Asked only after a failure: a camera that plays starts as fast as ever.
        if container is None and self._uri.kind == "http":
            leads = own_redirect(self._uri.target, str(self._uri), deadline_ns)
            container = self._connect(leads) if leads else None
        if container is None:
            raise SourceLost(f"{self._uri} does not answer with a video stream: check address, network and credentials")
        self._container = container
        try:
            stream = picture_stream(container, str(self._uri))
        except CameraError as error:
            # Another stream may stand there after a reconnect.
            raise SourceLost(str(error)) from error
        self._stream, self._packets = stream, self._demux(container, stream)
        self._decoder = Decoder(stream, joins=True, low_delay=True)
        self._deinterlacer, self._maker = Deinterlacer(), PictureMaker()
        self._over, self._live, self._opened_ns = None, False, time.monotonic_ns()
        width, height = square(stream.width, stream.height, pixel_aspect(stream))
        whole = stream.codec_context.name in _WHOLE_PICTURES
        return Opened(width, height, declared_fps(stream), predicted=not whole)

    def read(self) -> Raw:
        """Wait for the next frame; its time is its arrival, since a camera's own clock is not ours.

        What came while FFmpeg's probe was looking is handed over at once, up to 2 s old. It is decoded, since what
        follows builds on it, and left out; where nothing follows, its newest frame is given.
        """
        while not self._ready:
            if self._over is not None:
                raise self._over
            asked_ns = time.monotonic_ns()
            try:
                packet = next(self._packets)
            except SourceLost as lost:
                self._over = lost
                self._ready.extend(self._stale)
                continue
            came_ns = time.monotonic_ns()
            self._live |= came_ns - asked_ns > _WAITED_NS or came_ns - self._opened_ns > _STALE_NS
            if self._stream.codec_context.name == "mjpeg" and (size := jpeg_size(bytes(packet))) is not None:
                # Before memory is given to it.
                check_size(*size)
            decoded = self._decoder.decode(packet)
            if self._decoder.refused:
                raise FrameLost("a frame is damaged beyond decoding")
            for one in decoded:
                (self._ready if self._live else self._stale).extend(self._deinterlacer.feed(one))
        self._stale.clear()
        frame = self._ready.popleft()
        image = self._maker.pixels(frame.frame, pixel_aspect(self._stream))
        return Raw(image, time.monotonic_ns(), "arrival", rgb=True, damaged=frame.damaged)

    def _connect(self, url: str) -> av.container.InputContainer | None:
        # Without the two limits a stalled stream blocks for 30 s.
        limits = (self._settings.open_timeout_ms / 1000, self._settings.read_timeout_ms / 1000)
        try:
            return open_stream(url, _OPTIONS[self._uri.kind], *limits)
        except (av.FFmpegError, OSError, ValueError):
            # Why is not said: it may hold the address with its password.
            return None

    def _demux(
        self, container: av.container.InputContainer, stream: av.VideoStream
    ) -> Iterator[av.Packet[av.VideoStream]]:
        packets = container.demux(stream)
        while True:
            with av.logging.Capture():
                try:
                    packet = next(packets, None)
                except (av.FFmpegError, OSError, ValueError):
                    packet = None
            if packet is None:
                raise SourceLost(f"{self._uri} gives no more frames")
            if packet.size:
                yield packet

    def close(self) -> None:
        """Disconnect."""
        self._ready.clear()
        self._stale.clear()
        if self._container is not None:
            self._container.close()
            self._container = None
