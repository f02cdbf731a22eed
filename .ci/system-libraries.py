"""Say which system package is missing, instead of a traceback from deep inside OpenCV."""

from __future__ import annotations

import ctypes
import shutil
import sys

NEEDED = {
    "libGL.so.1": "libgl1",
    "libglib-2.0.so.0": "libglib2.0-0 (Debian 13 and Ubuntu 24.04: libglib2.0-0t64)",
}


def main() -> int:
    """Try to load each library; report all missing ones at once."""
    missing = []
    for library, package in NEEDED.items():
        try:
            ctypes.CDLL(library)
        except OSError:
            missing.append((library, package))
    for library, package in missing:
        print(f"missing system library {library}: install the package {package}", file=sys.stderr)
    if missing and shutil.which("apt-get"):
        names = " ".join(package.split()[0] for _, package in missing)
        print(f"  sudo apt-get install -y {names}", file=sys.stderr)
    return 1 if missing else 0


if __name__ == "__main__":
    sys.exit(main())
