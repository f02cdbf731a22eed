"""Memory that a library would hold for nothing: the pages of weight files."""

from __future__ import annotations

import ctypes
import sys
from pathlib import Path

_MADV_DONTNEED = 4


def release_pages(files: list[Path]) -> int:
    """Drop the resident pages of files that are mapped read-only and shared into this process.

    OpenVINO maps the external weights, packs a copy in its own layout and keeps the mapping: 335 MB of a
    ViT-B/32 that nobody reads again. Dropping clean pages of a shared file mapping never loses anything;
    whoever does read them gets them from the file.

    Args:
        files: The files.

    Returns:
        Bytes of mappings that were advised; 0 where the system has no such call.
    """
    if not sys.platform.startswith("linux"):
        return 0
    wanted = {str(file.resolve()) for file in files}
    libc = ctypes.CDLL(None, use_errno=True)
    advised = 0
    for line in Path("/proc/self/maps").read_text().splitlines():
        span, mode, *_, path = line.split(maxsplit=5) if line.count(" ") > 5 else (line, "", "")
        # "r--s": nothing of it can be dirty, so the file is as good as the page.
        if path.strip() not in wanted or not mode.startswith("r--s"):
            continue
        first, last = (int(address, 16) for address in span.split("-"))
        if libc.madvise(ctypes.c_void_p(first), ctypes.c_size_t(last - first), _MADV_DONTNEED) == 0:
            advised += last - first
    return advised
