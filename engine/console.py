"""What every command of the project does when the system refuses: one line with a remedy, and no traceback."""

from __future__ import annotations

import errno
import os
import select
import sys
from collections.abc import Callable

_STDOUT = 1
_REMEDIES = {
    errno.ENOSPC: "free some space there (df -h), or choose another place",
    errno.EDQUOT: "your quota there is used up: free some space, or choose another place",
    errno.EACCES: "this user may not: choose another place, or change its permissions",
    errno.EROFS: "that file system is read-only: choose another place",
}


def explain(error: OSError) -> str:
    """What the system refused, where, and what to do."""
    where = error.filename2 or error.filename
    said = f"{error.strerror or error}{f': {where}' if where else ''}"
    remedy = _REMEDIES.get(error.errno or 0)
    if error.errno == errno.ENOSPC:
        # Files are put in place whole; what is printed ends where the disk did.
        remedy = f"{remedy}; {'nothing was left half-written' if where else 'the last line may be cut off'}"
    return f"{said}; {remedy}" if remedy else said


def guarded(program: str, command: Callable[[], int], refused: int) -> int:
    """Run a command of a command line.

    Args:
        program: Its name, which begins the line.
        command: Runs it and returns the exit code.
        refused: Exit code where the system refused something: a full disk, a file that may not be read.

    Returns:
        The command's exit code; `refused`; 0 where whoever read its output has seen enough, as ``| head`` has.
    """
    try:
        code = command()
        # Here rather than at exit, where Python can only complain.
        sys.stdout.flush()
        return code
    except OSError as error:
        if isinstance(error, BrokenPipeError) and _reader_left():
            os.dup2(os.open(os.devnull, os.O_WRONLY), _STDOUT)
            return 0
        print(f"{program}: {explain(error)}", file=sys.stderr)
        return refused


def _reader_left() -> bool:
    """Whether it is standard output that nobody reads any more, and not some other pipe."""
    poll = select.poll()
    poll.register(_STDOUT, 0)
    return any(event & select.POLLERR for _, event in poll.poll(0))
