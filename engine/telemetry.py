"""No library calls home from a camera daemon.

``import openvino`` forks a process that looks up an address and reports the import, through the package
``openvino_telemetry``; NNCF does the same. Both go on without a word where that package cannot be imported, so its
import is refused before theirs. Found with ``strace -e trace=connect`` on the running daemon (openvino 2026.4).
"""

from __future__ import annotations

import sys


def forbid_telemetry() -> None:
    """Make ``import openvino_telemetry`` fail from now on, unless it has been imported already."""
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
