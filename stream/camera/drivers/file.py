"""Files as cameras: videos, GIFs, single images, folders of images. Runs in the capture process."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from stream.camera.driver import Opened, Raw, SourceEnded
from stream.camera.frame import CameraError, FrameLost, check_size
from stream.camera.kinds import IMAGE, used_as
from stream.camera.paths import find_file, image_paths
from stream.camera.settings import CameraSettings
from stream.camera.uri import SourceUri
from stream.camera.video import Picture, open_video
from stream.camera.video.still import read_image

_FALLBACK_FPS = 25.0


class Pass(Protocol):
    """One run through a file, from its first frame to its last."""

    def opened(self) -> Opened:
        """Say what the file declares."""

    def next(self) -> Picture | None:
        """Give the next picture; None after the last."""

    def advance(self) -> int | None:
        """Go to the next picture without making it; gives its time from the first, ns, None after the last."""

    def problem(self) -> str | None:
        """Why the file is not whole, as far as it has been read; None while nothing is known to be wrong."""

    def close(self) -> None:
        """Release the file."""


class VideoPass:
    """A video."""

    def __init__(self, path: Path) -> None:
        self._reader = open_video(path)
        self.next, self.advance = self._reader.next, self._reader.advance
        self.problem, self.close = self._reader.problem, self._reader.close

    def opened(self) -> Opened:
        """Say what the container declares."""
        info = self._reader.info
        return Opened(info.width, info.height, info.fps or _FALLBACK_FPS, info.duration_s)


class ImagePass:
    """Images in the order of their names, numbers by value, at a fixed rate."""

    def __init__(self, paths: list[Path], fps: float) -> None:
        self._paths = paths
        self._fps = fps
        self._next = 0
        self._first = read_image(paths[0])

    def opened(self) -> Opened:
        """Say the size of the first image and how long all of them are shown."""
        return Opened(self._first.shape[1], self._first.shape[0], self._fps, len(self._paths) / self._fps)

    def next(self) -> Picture | None:
        """Decode the next image."""
        index = self._next
        if (t_ns := self.advance()) is None:
            return None
        return Picture(self._first if index == 0 else read_image(self._paths[index]), t_ns)

    def advance(self) -> int | None:
        """Go to the next image."""
        if self._next == len(self._paths):
            return None
        self._next += 1
        return round((self._next - 1) * 1e9 / self._fps)

    def problem(self) -> str | None:
        """A damaged image is an error of its own."""
        return None

    def close(self) -> None:
        """Nothing is held open."""


class FileDriver:
    """Passes through one file, one after the other where it loops, on one running time line."""

    def __init__(self, name: str, start: Callable[[], Pass], loop: bool, position: int, base_ns: int) -> None:
        self._name, self._start, self._loop = name, start, loop
        self._position, self._base_ns = position, base_ns
        self._pass: Pass | None = None
        self._ahead: Picture | None = None
        self._opened = Opened(0, 0, 0.0)
        self._end_ns = base_ns

    def open(self) -> Opened:
        """Open the file and decode its first frame, so that a file without one is an error and not an end."""
        self._pass = self._start()
        self._opened = self._pass.opened()
        for _ in range(self._position):
            self._pass.advance()
        while True:
            try:
                self._ahead = self._pass.next()
                break
            except FrameLost:
                self._position += 1
        if self._ahead is None and self._position == 0:
            why = self._pass.problem() or "the file is damaged or empty"
            raise CameraError(f"{self._name} holds no frame that can be decoded: {why}")
        return self._opened

    def problem(self) -> str | None:
        """Why the file is not whole, as far as it has been read; None while nothing is known to be wrong."""
        return None if self._pass is None else self._pass.problem()

    def read(self) -> Raw:
        """Give the next frame; see ``Driver.read``."""
        assert self._pass is not None
        try:
            taken, self._ahead = self._ahead or self._pass.next(), None
            if taken is not None:
                check_size(taken.content.shape[1], taken.content.shape[0])
        except FrameLost:
            self._position += 1
            raise
        if taken is None:
            if not self._loop or self._position == 0:
                problem = self._pass.problem()
                raise SourceEnded(
                    f"{self._name} ended after {self._position} frames{'; ' + problem if problem else ''}"
                )
            self._pass.close()
            self._base_ns, self._position = self._end_ns, 0
            self.open()
            return self.read()
        t_ns = self._base_ns + taken.t_ns
        raw = Raw(taken.content, t_ns, "file", True, self._position, self._base_ns, taken.damaged)
        self._end_ns = t_ns + round(1e9 / self._opened.fps)
        self._position += 1
        return raw

    def close(self) -> None:
        """Release the file."""
        if self._pass is not None:
            self._pass.close()
            self._pass = None


def open_file(uri: SourceUri, settings: CameraSettings, position: int = 0, base_ns: int = 0) -> FileDriver:
    """Make the driver of a file or folder.

    Raises:
        CameraError: If there is nothing to play.
    """
    path = find_file(uri)
    loop = settings.loop or uri.kind == "demo"
    fps = settings.fps or _FALLBACK_FPS
    if path.is_dir():
        paths = image_paths(path)
        return FileDriver(str(path), lambda: ImagePass(paths, fps), loop, position, base_ns)
    if used_as(path) == IMAGE:
        return FileDriver(str(path), lambda: ImagePass([path], fps), loop, position, base_ns)
    return FileDriver(str(path), lambda: VideoPass(path), loop, position, base_ns)
