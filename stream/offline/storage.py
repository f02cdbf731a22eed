"""A folder here or in an object store, in which a file appears whole or not at all."""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import IO, Any

from stream.offline import ScoreError

_SCHEME = re.compile(r"([a-zA-Z][a-zA-Z0-9+.-]+)://")
_PATIENCE_S = 10
"""A store that does not answer for so long is not there."""
_CREDENTIALS = {
    "s3": "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY or AWS_PROFILE; of another service than AWS, give "
    "s3://BUCKET/PATH?endpoint_override=HOST:PORT",
    "gs": "gcloud auth application-default login, or set GOOGLE_APPLICATION_CREDENTIALS",
}


def is_url(path: str) -> bool:
    """Whether a path names a place by its scheme, as ``s3://bucket/clips`` does."""
    return _SCHEME.match(path) is not None


class Store:
    """A folder.

    Args:
        url: A path, or ``file://``, ``s3://``, ``gs://``; any other scheme is fsspec's.

    Attributes:
        url: As given.
        local: Where it lies on this machine; None in an object store.

    Raises:
        ScoreError: If there is no such kind of place, or what reads it is not installed.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        found = _SCHEME.match(url)
        self._scheme = found[1].lower() if found else "file"
        with self._told("be opened"):
            self._fs, self._root = _open(self._scheme, url)
        self.local = Path(self._root) if self._scheme == "file" else None

    def read(self, name: str) -> bytes | None:
        """What a small file holds; None where there is none."""
        with self._told("be read"):
            try:
                with self._fs.open_input_stream(self._path(name)) as stream:
                    return bytes(stream.read())
            except FileNotFoundError:
                return None

    def open(self, name: str) -> Any:
        """A file for reading anywhere in it, as pyarrow takes it."""
        with self._told("be read"):
            return self._fs.open_input_file(self._path(name))

    def write(self, name: str, write: Callable[[IO[bytes]], object]) -> None:
        """Write a file; one that breaks off is not there.

        Args:
            name: Below this folder.
            write: Writes to what it is given.
        """
        aside = f"staging/{Path(name).name}.{os.getpid()}"
        self.stage(aside, write)
        self.move(aside, name)

    def stage(self, name: str, write: Callable[[IO[bytes]], object]) -> None:
        """Write a file where nobody reads yet; what a failed attempt wrote is removed.

        Raises:
            ScoreError: If it cannot be written.
        """
        path = self._path(name)
        with self._told("be written"):
            self._fs.create_dir(path.rpartition("/")[0], recursive=True)
            try:
                with self._fs.open_output_stream(path) as stream:
                    write(stream)
                if self.local is not None:
                    _sync(Path(path))
            except BaseException:
                self.remove(name)
                raise

    def move(self, name: str, to: str) -> None:
        """Put a file in place, whole; what stood there is replaced."""
        with self._told("be written"):
            target = self._path(to)
            self._fs.create_dir(target.rpartition("/")[0], recursive=True)
            self._fs.move(self._path(name), target)
            if self.local is not None:
                _sync(Path(target).parent)

    def remove(self, name: str) -> None:
        """Remove a file or folder, if it is there."""
        try:
            info = self._fs.get_file_info(self._path(name))
            if info.is_file:
                self._fs.delete_file(self._path(name))
            elif info.type.name == "Directory":
                self._fs.delete_dir(self._path(name))
        except OSError:
            return

    def files(self, below: str = "", suffix: str = "") -> Iterator[tuple[str, int, int]]:
        """Name below this folder, size in bytes and time of change in ns of each file, by name."""
        from pyarrow.fs import FileSelector

        with self._told("be read"):
            selector = FileSelector(self._path(below), allow_not_found=True, recursive=True)
            infos = [info for info in self._fs.get_file_info(selector) if info.is_file]
        for info in sorted(infos, key=lambda info: info.path):
            if info.path.endswith(suffix):
                yield info.path[len(self._root) :].lstrip("/"), info.size or 0, info.mtime_ns or 0

    def itself(self) -> list[tuple[str, int, int]]:
        """The same of what is named itself, where that is a file."""
        with self._told("be read"):
            info = self._fs.get_file_info(self._root)
        return [("", info.size or 0, info.mtime_ns or 0)] if info.is_file else []

    def join(self, name: str) -> str:
        """The URL of a file below this one."""
        place, mark, query = self.url.partition("?")
        return f"{place.rstrip('/')}/{name}{mark}{query}" if name else self.url

    def fetch(self, name: str, to: Path) -> None:
        """Copy a file to this machine."""
        with self._told("be read"), self._fs.open_input_stream(self._path(name)) as source, to.open("wb") as out:
            while chunk := source.read(1 << 20):
                out.write(chunk)

    def _path(self, name: str) -> str:
        return f"{self._root}/{name}".rstrip("/") if name else self._root

    @contextmanager
    def _told(self, what: str) -> Iterator[None]:
        """Whatever the place says against it, in one line."""
        try:
            yield
        except (OSError, ValueError, NotImplementedError) as error:
            raise ScoreError(f"{self.url} cannot {what}: {_words(error)}", self._remedy(error)) from error

    def _remedy(self, error: BaseException) -> str:
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            return "free some space there (df -h); what was placed before is whole, and --resume goes on"
        return _CREDENTIALS.get(self._scheme, "choose another place, or change its permissions")


def _open(scheme: str, url: str) -> tuple[Any, str]:
    from pyarrow import fs

    if scheme == "file":
        path = url.partition("://")[2] if is_url(url) else url
        return fs.LocalFileSystem(), str(Path(path or ".").absolute())
    if scheme in ("s3", "gs", "gcs"):
        try:
            found, root = fs.FileSystem.from_uri(url)
        except ValueError as error:
            raise ScoreError(
                f"{url} is no place: {_words(error)}", "give s3://BUCKET/PATH or gs://BUCKET/PATH"
            ) from error
        if scheme != "s3" and "retry_limit_seconds" not in url:
            # Its own patience is a quarter of an hour.
            found = fs.GcsFileSystem(retry_time_limit=timedelta(seconds=_PATIENCE_S))
        return found, root.rstrip("/")
    try:
        import fsspec

        opened, root = fsspec.core.url_to_fs(url)
    except (ImportError, ValueError) as error:
        raise ScoreError(
            f"{url} is a kind of place that nothing here reads: {_words(error)}",
            "pip install what fsspec names, or take file://, s3:// or gs://",
        ) from error
    return fs.PyFileSystem(fs.FSSpecHandler(opened)), str(root).rstrip("/")


def _words(error: BaseException) -> str:
    words = " ".join(str(getattr(error, "strerror", None) or error).split())
    return words if len(words) < 300 else words[:300] + "…"


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
