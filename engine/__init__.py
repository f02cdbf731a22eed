"""engine: turns a bundle into the fastest correct thing for the machine it stands on, proves it, and runs it."""

import sys

# No library calls home from a camera daemon: importing OpenVINO or NNCF forks a process that looks up an address and
# reports the import, through this package, and both go on without a word where it cannot be imported (found with
# strace -e trace=connect, openvino 2026.4). Here, because whatever of ours imports them imports this package first.
sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
# Its converter of other frameworks' models is optional to it, no use to us, and most of what it imports: 17 MB, 60 ms.
sys.modules.setdefault("openvino.tools.ovc", None)  # type: ignore[arg-type]
