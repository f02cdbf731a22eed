"""Graphs compiled by OpenVINO for this CPU, kept from one start to the next.

OpenVINO's own cache hands out old weights where only the ``.bin`` of a graph changed, and reads the graph to know it.
Here a compiled graph is kept under the hash of everything that it was made of, so that a second start reads nothing
else: three face nets and a small model take 1.1 s of CPU to compile and 0.2 s to take from here (EPYC, 2026-11-28).
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
import mmap
import os
import stat
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import openvino as ov

from engine.backends.runtime import cpu_name
from engine.errors import DferError
from engine.files import open_file, replace_file, user_cache

MOST_BYTES = 64 * 1024 * 1024
"""Largest compiled graph that is kept: beyond, compiling is worth its time and the disk is not."""
_MOST_FILES = 24
_DIGEST_BYTES = 32
_MAPPED: dict[bytes, tuple[Any, mmap.mmap]] = {}
"""Kept graphs in use, by their hash: OpenVINO reads the memory of what a graph was made of, and does not keep it."""


@functools.cache
def core() -> Any:
    """The process's one OpenVINO: every further one would load its plug-ins anew."""
    return ov.Core()


def cache_folder() -> Path | None:
    """Where compiled graphs are kept; None where this user has no place for them. Safe to delete at any time."""
    base = user_cache()
    return None if base is None else base / "openvino"


def compile_graph(read: Callable[[], Any], identity: str | None, config: Mapping[str, Any]) -> Any:
    """Compile a graph for this CPU, or take it from the cache.

    Args:
        read: Gives the graph, a path or an OpenVINO model; only called where it must be compiled.
        identity: What the graph is, hashes of all its bytes included; None to keep nothing.
        config: OpenVINO's properties.

    Returns:
        OpenVINO's compiled model.

    Raises:
        RuntimeError: If OpenVINO cannot read or compile it.
    """
    folder = cache_folder() if identity is not None else None
    if folder is None:
        return core().compile_model(read(), "CPU", dict(config))
    made_of = [identity, ov.get_version(), cpu_name(), {name: str(value) for name, value in sorted(config.items())}]
    path = folder / f"{hashlib.sha256(json.dumps(made_of).encode()).hexdigest()[:40]}.blob"
    kept = _load(path)
    if kept is not None:
        with contextlib.suppress(RuntimeError):
            return core().import_model(kept, "CPU", dict(config))
    compiled = core().compile_model(read(), "CPU", dict(config))
    _store(path, compiled)
    return compiled


def release_kept() -> None:
    """Drop the resident pages of kept graphs: once weights are packed, hardly any of them is read again."""
    for _, mapped in list(_MAPPED.values()):
        # Nothing was written to, so whatever is read again comes from the file.
        mapped.madvise(mmap.MADV_DONTNEED)


def _load(path: Path) -> Any:
    """A kept graph whose bytes are those that were written, in a folder that nobody else can write to.

    Mapped, not read: OpenVINO's constants then lie in the file's pages, which the system shares and may take back.
    """
    try:
        folder = path.parent.stat()
        if folder.st_uid != os.geteuid() or stat.S_IMODE(folder.st_mode) & 0o022:
            return None
        with open_file(path) as stream:
            # Private, not read-only: a tensor takes no memory that cannot be written to. Nobody writes.
            mapped = mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_COPY)
    except (OSError, ValueError):
        return None
    whole = memoryview(mapped)
    blob, digest = whole[:-_DIGEST_BYTES], bytes(whole[-_DIGEST_BYTES:])
    if hashlib.sha256(blob).digest() != digest:
        return None
    return _MAPPED.setdefault(digest, (ov.Tensor(np.frombuffer(blob, np.uint8), shared_memory=True), mapped))[0]


def _store(path: Path, compiled: Any) -> None:
    """Keep a compiled graph; a disk that is full or read-only is no error."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        exported = compiled.export_model()
        blob = exported if isinstance(exported, bytes) else exported.getvalue()
        if len(blob) > MOST_BYTES:
            return
        data = blob + hashlib.sha256(blob).digest()
        replace_file(path, lambda temporary: temporary.write_bytes(data), flush=False, mode=0o600)
        # What other versions and other models left behind.
        old = sorted(path.parent.glob("*.blob"), key=lambda file: file.stat().st_mtime)[:-_MOST_FILES]
        for file in old:
            file.unlink(missing_ok=True)
    except (OSError, RuntimeError, DferError):
        return
