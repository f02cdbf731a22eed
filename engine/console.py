"""The one runner of every command of the four programs: arguments in, an exit code of one table out.

A command is a module with ``add_arguments(parser)`` and ``run(args) -> int``. Whatever can be mended is one line with
its remedy on standard error, never a traceback.
"""

from __future__ import annotations

import argparse
import contextlib
import difflib
import enum
import errno
import importlib
import os
import re
import select
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from engine.errors import DferError, missing_extra
from engine.text import say


class Exit(enum.IntEnum):
    """What a program's end says; the same in all four."""

    DONE = 0
    """All that was asked for, or a reader that had seen enough."""
    PARTLY = 1
    """Ended, but something that was asked for failed and is named; the rest is kept."""
    REFUSED = 2
    """Arguments, settings, files or this machine do not allow it; nothing was left half-written."""
    INTERRUPTED = 130
    """Stopped by Ctrl-C."""


@dataclass(frozen=True)
class Command:
    """One command of a program.

    Attributes:
        module: Dotted name of the module with ``add_arguments`` and ``run``; imported only where the command is meant.
        summary: What it does, one line.
        examples: Shown under its help; the first line under the program's.
    """

    module: str
    summary: str
    examples: str


@dataclass(frozen=True)
class Program:
    """A program with commands.

    Attributes:
        name: As it is called.
        about: What it is for.
        commands: By name.
    """

    name: str
    about: str
    commands: dict[str, Command]

    def main(self, argv: Sequence[str] | None = None) -> int:
        """Run the command line.

        Args:
            argv: Arguments; those of the process if not given.

        Returns:
            An :class:`Exit` code, or the command's own.
        """
        open_streams()
        arguments = list(sys.argv[1:] if argv is None else argv)
        parser = argparse.ArgumentParser(
            prog=self.name,
            description=self.about,
            epilog="examples:\n" + "\n".join(f"  {c.examples.splitlines()[0]}" for c in self.commands.values()),
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
        # Only the command that is meant is imported: `listen` must not wait for a model runtime.
        wanted = next((argument for argument in arguments if argument in self.commands), None)
        subparsers: dict[str, argparse.ArgumentParser] = {}
        runners: dict[str, Callable[[argparse.Namespace], int]] = {}
        for name, command in self.commands.items():
            sub = subparsers[name] = commands.add_parser(
                name,
                help=command.summary,
                description=command.summary[:1].upper() + command.summary[1:] + ".",
                epilog=f"example: {command.examples}",
                formatter_class=argparse.RawDescriptionHelpFormatter,
                allow_abbrev=False,
            )
            if name == wanted:
                try:
                    loaded = importlib.import_module(command.module)
                except ModuleNotFoundError as error:
                    if (missing := missing_extra(error)) is None:
                        raise
                    _tell(f"{self.name} {name}: {missing}")
                    return Exit.REFUSED
                loaded.add_arguments(sub)
                runners[name] = loaded.run
        args, unknown = parser.parse_known_args(arguments)
        if unknown:
            sub = subparsers[args.command]
            _tell(f"{sub.prog}: unknown argument {unknown[0]}{_nearest(unknown[0], sub)}")
            return Exit.REFUSED
        return guarded(f"{self.name} {args.command}", lambda: runners[args.command](args))


def guarded(name: str, command: Callable[[], int]) -> int:
    """Run a command and turn what a person can mend into one line and an :class:`Exit` code.

    Args:
        name: Program and command, which begin the line.
        command: Runs it and returns the exit code.
    """
    try:
        code = command()
        # Here rather than at exit, where Python can only complain.
        sys.stdout.flush()
        return code
    except DferError as error:
        _tell(f"{name}: {error}")
        return Exit.REFUSED
    except ModuleNotFoundError as error:
        if (missing := missing_extra(error)) is None:
            raise
        _tell(f"{name}: {missing}")
        return Exit.REFUSED
    except KeyboardInterrupt as stopped:
        if sys.stderr.isatty():
            _tell("")  # it has shown ^C and stays on that line
        _tell(f"{name}: {str(stopped) or 'stopped'}")
        return Exit.INTERRUPTED
    except OSError as error:
        if isinstance(error, BrokenPipeError) and _reader_left():
            os.dup2(os.open(os.devnull, os.O_WRONLY), _STDOUT)
            return Exit.DONE
        _tell(f"{name}: {explain(error)}")
        return Exit.REFUSED
    finally:
        _drop_unsaid()


@contextmanager
def stoppable(left: Callable[[], str]) -> Iterator[None]:
    """Let Ctrl-C end what is inside with words of its own.

    Args:
        left: What the line says after the command's name: what was kept and how to go on.
    """
    try:
        yield
    except KeyboardInterrupt:
        raise KeyboardInterrupt(left()) from None


def open_streams() -> None:
    """Give a process that was started without one of its standard streams an empty one.

    Else the next file or socket it opens would take the number, and be written into by whoever prints. Standard output
    that was closed refuses what is printed, so that nothing is lost in silence; standard error takes it.
    """
    for name, flags in (("stdin", os.O_RDONLY), ("stdout", os.O_RDONLY), ("stderr", os.O_WRONLY)):
        if getattr(sys, name) is None:
            # The lowest number that is free, hence its own.
            descriptor = os.open(os.devnull, flags)
            os.set_inheritable(descriptor, True)
            setattr(sys, name, os.fdopen(descriptor, "r" if name == "stdin" else "w"))


def _tell(line: str) -> None:
    """One line on standard error; a full disk under it is no second error."""
    with contextlib.suppress(OSError, ValueError):
        say(line)


def _drop_unsaid() -> None:
    """Drop what the streams would not take: at exit Python could only turn it into a code of its own, 120."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError):
            with contextlib.suppress(OSError, ValueError):
                os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


_STDOUT = 1
_REMEDIES = {
    errno.ENOSPC: "free some space there (df -h), or choose another place",
    errno.EDQUOT: "your quota there is used up: free some space, or choose another place",
    errno.EACCES: "this user may not: choose another place, or change its permissions",
    errno.EBADF: "standard output is closed: leave it open, or send it to /dev/null",
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


def _nearest(argument: str, parser: argparse.ArgumentParser) -> str:
    """The flag that was probably meant."""
    flags = re.findall(r"--[a-z][\w.-]*", parser.format_help())
    near = difflib.get_close_matches(argument.partition("=")[0], flags, 1, 0.5)
    return f"; did you mean {near[0]}?" if near else f"; {parser.prog} --help lists what there is"


def _reader_left() -> bool:
    """Whether it is standard output that nobody reads any more, and not some other pipe."""
    poll = select.poll()
    poll.register(_STDOUT, 0)
    return any(event & select.POLLERR for _, event in poll.poll(0))
