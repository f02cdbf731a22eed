"""A daemon of the page's own on the built-in clip, for looking at it with one command."""

from __future__ import annotations

import ctypes
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from engine.errors import DferError
from engine.settings import child_environment

_END_S = 10.0
_PR_SET_PDEATHSIG = 1
_ROOT = Path(__file__).resolve().parents[3]
# Our packages' folder replaces the working directory on the module path: a stray cv2.py there is not ours to run.
_BOOT = "import sys; sys.path[0] = sys.argv.pop(1); from stream.cli import main; sys.exit(main())"


@contextmanager
def demo_daemon() -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    """Run ``dfer-stream run --source demo://`` with pictures; gives its endpoint and process, and ends it.

    It ends with this process, too, however that goes.

    Raises:
        DferError: If the system refuses the process.
    """
    libc = ctypes.CDLL(None)
    with tempfile.TemporaryDirectory(prefix="dfer-view-") as folder:
        endpoint = f"ipc://{Path(folder) / 'demo.ipc'}"
        run = ["run", "--source", "demo://", "--source-name", "demo", "--bind", endpoint, "--with-frames", "--quiet"]
        try:
            child = subprocess.Popen(
                [sys.executable, "-c", _BOOT, str(_ROOT), *run],
                stdin=subprocess.DEVNULL,
                env=child_environment(),
                start_new_session=True,  # Ctrl-C is this process's to handle
                preexec_fn=lambda: libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0),
            )
        except OSError as error:
            raise DferError(f"the demo's daemon does not start: {error}") from error
        try:
            yield endpoint, child
        finally:
            child.terminate()
            try:
                child.wait(_END_S)
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()
