"""What a process keeps of what it freed, seen from outside: page faults of the same work."""

from __future__ import annotations

import subprocess
import sys

import pytest

# Blocks as a decoder takes them: below what is mapped by itself, more together than is kept by default.
WORK = """
import ctypes, resource, sys
from engine.heap import keep_freed
libc = ctypes.CDLL(None)
libc.malloc.restype, libc.malloc.argtypes = ctypes.c_void_p, [ctypes.c_size_t]
libc.free.argtypes = [ctypes.c_void_p]
if sys.argv[1] == "kept":
    keep_freed()
def picture():
    blocks = [libc.malloc(480_000) for _ in range(4)]
    for block in blocks:
        ctypes.memset(block, 1, 480_000)
    for block in reversed(blocks):
        libc.free(block)
picture()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(100):
    picture()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="other systems keep memory their own way")
def test_freed_memory_is_taken_again_without_a_page_fault() -> None:
    faults = {
        how: int(subprocess.run([sys.executable, "-c", WORK, how], check=True, capture_output=True, text=True).stdout)
        for how in ("kept", "usual")
    }
    assert faults["kept"] < 100
    if faults["usual"] < 1000:
        pytest.skip("this C library keeps memory by itself")
