"""Files that are written whole or not at all."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from pathlib import Path

from safetensors import SafetensorError

from engine.errors import DferError


def replace_file(path: Path, write: Callable[[Path], object], flush: bool = True) -> None:
    """Write a file so that a reader, or a kill at any moment, finds the old or the new one, whole.

    Args:
        path: The file; its folder is made where it is missing.
        write: Writes to the path it is given, which has the same suffix.
        flush: Wait until it is on the disk; not worth it for thousands of small files that can be made again.

    Raises:
        DferError: If it cannot be written; nothing is left of the attempt.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{path.stem}.", suffix=path.suffix, dir=path.parent)
        os.close(handle)
        temporary = Path(name)
        try:
            write(temporary)
            if flush:
                with temporary.open("rb") as stream:
                    os.fsync(stream.fileno())
            temporary.chmod(0o644)
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
    except (OSError, SafetensorError) as error:
        # On a full disk safetensors raises its own error.
        said = error.strerror or error if isinstance(error, OSError) else error
        raise DferError(f"cannot write {path}: {said}", "what stood there before is whole") from error


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
