"""Files that are written whole or not at all, and read within bounds: the one writer and the one reader.

A link keeps pointing where it did, and its target is what is replaced. What is no file (a pipe, ``/dev/null``,
``/dev/stdout``) is written into, never replaced.
"""

from __future__ import annotations

import errno
import os
import shutil
import stat
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from engine.errors import DferError

_MOST_LINKS = 40  # as many as Linux follows (path_resolution(7))


def user_cache() -> Path | None:
    """Where what can be made again is kept between runs: ``$XDG_CACHE_HOME/dferstream``, by default below ``~/.cache``.

    None where this user has no place for it. Nothing is made here, it is safe to delete at any time, and whoever writes
    into it goes on without where it cannot be written.
    """
    try:
        base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    except RuntimeError:  # no home
        return None
    return base / "dferstream" if base.is_absolute() else None


def replace_file(path: Path, write: Callable[[Path], object], flush: bool = True, mode: int = 0o644) -> None:
    """Write a file so that a reader, or a kill at any moment, finds the old or the new one, whole.

    Args:
        path: The file; its folder is made where it is missing.
        write: Writes to the path it is given, which has the same suffix.
        flush: Wait until it is on the disk; not worth it for thousands of small files that can be made again.
        mode: Permissions of the file.

    Raises:
        DferError: If it cannot be written; nothing is left of the attempt.
    """
    import tempfile

    try:
        target = _target(path)
        beside = Path(tempfile.gettempdir()) if target is None else target.parent
        beside.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{path.stem}.", suffix=path.suffix, dir=beside)
        os.close(handle)
        temporary = Path(name)
        try:
            write(temporary)
            _put(temporary, path, target, flush, mode)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        raise _refused(path, error) from error


def place_file(finished: Path, path: Path, mode: int | None = None) -> None:
    """Move a finished file to where it is wanted, whole or not at all; it is gone from where it was.

    Args:
        finished: The file.
        path: Where to, another file system or not.
        mode: Its permissions there; those that it has if not given.

    Raises:
        DferError: If it cannot be placed; `finished` is kept.
    """
    try:
        target = _target(path)
        if mode is not None:
            finished.chmod(mode)
        if target is not None:
            finished.replace(target)
            return
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise _refused(path, error) from error
    kept = stat.S_IMODE(finished.stat().st_mode)
    replace_file(path, lambda temporary: shutil.copyfile(finished, temporary), mode=kept)
    finished.unlink()


def write_text(path: Path, text: str) -> None:
    """Write a text file, UTF-8, whole or not at all.

    Raises:
        DferError: If it cannot be written.
    """
    replace_file(path, lambda temporary: temporary.write_text(text, "utf-8"))


def write_bytes(path: Path, data: bytes) -> None:
    """Write a file, whole or not at all, without waiting for the disk.

    Raises:
        DferError: If it cannot be written.
    """
    replace_file(path, lambda temporary: temporary.write_bytes(data), flush=False)


def create_file(path: Path, data: bytes, mode: int) -> None:
    """Make a file that must not exist yet, whole or not at all, with its permissions from the first moment.

    Args:
        path: The file; its folder exists.
        data: What it holds.
        mode: Permissions.

    Raises:
        OSError: If it exists or cannot be written; nothing is left of the attempt.
    """
    import tempfile

    handle, name = tempfile.mkstemp(prefix=f".{path.stem}.", dir=path.parent)  # readable by its owner alone
    try:
        with os.fdopen(handle, "wb") as stream:
            stream.write(data)
            stream.flush()
            os.fchmod(handle, mode)
            os.fsync(handle)
        os.link(name, path)  # which, unlike a rename, replaces nothing
    finally:
        Path(name).unlink(missing_ok=True)


def read_file(path: Path, most_bytes: int, pipes: bool = False) -> bytes:
    """What a file holds, never more than a bound, and never waiting for what is no file.

    Args:
        path: The file.
        most_bytes: More than this is refused.
        pipes: Take a pipe too, as in ``--config <(…)``; then it waits for whoever writes it.

    Raises:
        OSError: If it cannot be read, is larger, or is no regular file.
    """
    with open_file(path, pipes) as stream:
        data = stream.read(most_bytes + 1)
    if len(data) > most_bytes:
        raise OSError(errno.EFBIG, f"larger than {most_bytes >> 10} KiB", str(path))
    return data


def open_file(path: Path, pipes: bool = False) -> BinaryIO:
    """A regular file, open for reading.

    Args:
        path: The file.
        pipes: Take a pipe too.

    Raises:
        OSError: If it cannot be opened or is no regular file; a pipe that nobody writes is not waited for.
    """
    if pipes and path.is_fifo():
        return path.open("rb")
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "not a regular file", str(path))
    return os.fdopen(descriptor, "rb")


def _target(path: Path) -> Path | None:
    """The file to replace: where links end; None where it is to be written into as it stands."""
    for _ in range(_MOST_LINKS):
        if not path.is_symlink():
            special = path.exists() and not path.is_file() and not path.is_dir()
            return None if special else path
        folder = Path(os.path.realpath(path.parent))
        if folder.is_relative_to("/proc"):  # /dev/stdout ends there: an open file, with a name that may be none
            return None
        path = folder / path.readlink()
    raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), str(path))


def _put(temporary: Path, path: Path, target: Path | None, flush: bool, mode: int) -> None:
    if target is None:
        # A pipe that nobody reads is an error at once: a daemon that is told to end must not wait for a reader.
        try:
            special = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_NONBLOCK | os.O_NOCTTY)
        except OSError as error:
            if error.errno == errno.ENXIO:
                raise OSError(error.errno, "nobody reads it") from error
            raise
        os.set_blocking(special, True)
        with temporary.open("rb") as source, os.fdopen(special, "wb") as out:
            shutil.copyfileobj(source, out)
        return
    if flush:
        with temporary.open("rb") as stream:
            os.fsync(stream.fileno())
    temporary.chmod(mode)
    temporary.replace(target)


def _refused(path: Path, error: OSError) -> DferError:
    return DferError(f"cannot write {path}: {error.strerror or error}", "what stood there before is whole")
