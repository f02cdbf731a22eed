"""An environment of its own for each peer, under ``.cache/peers``: made once, with pip or npm, and weighed."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

TORCH = os.environ.get("TORCH", "torch==2.13.0")


class CannotRun(Exception):
    """Why a peer is not measured here; shown in the table."""


@dataclass(frozen=True)
class Environment:
    """What is installed together.

    Attributes:
        name: Its folder's.
        pip: Arguments of each ``pip install``, in turn.
        npm: Packages; an environment has these or the others.
        after: A worker to run once in it, with the folder as its argument.
    """

    name: str
    pip: tuple[tuple[str, ...], ...] = ()
    npm: tuple[str, ...] = ()
    after: str = ""


WORKERS = Path(__file__).parent / "workers"
OWN = Environment("own")
"""The environment this runs in."""


def folder(environment: Environment, root: Path) -> Path:
    """Where it lies."""
    return root / environment.name


def python(environment: Environment, root: Path) -> str:
    """Its interpreter."""
    own = environment is OWN or environment.npm
    return sys.executable if own else str(folder(environment, root) / "bin" / "python")


def make(environment: Environment, root: Path) -> None:
    """Install what is not there yet.

    Raises:
        CannotRun: If pip or npm refuses, with their last line.
    """
    place = folder(environment, root)
    if environment is OWN or (place / ".made").is_file():
        return
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir(parents=True)
    if environment.npm:
        if shutil.which("npm") is None:
            raise CannotRun("npm is not installed")
        (place / "package.json").write_text('{"private": true}\n')
        _run(["npm", "install", "--no-audit", "--no-fund", "--ignore-scripts", *environment.npm], place)
    else:
        _run([sys.executable, "-m", "venv", str(place)], root)
        for arguments in environment.pip:
            pip = [python(environment, root), "-m", "pip", "--disable-pip-version-check", "install", "--quiet"]
            _run([*pip, "--no-compile", *arguments], root)
    if environment.after:
        _run([python(environment, root), str(WORKERS / environment.after), str(place)], root)
    (place / ".made").touch()


def size_mb(path: Path) -> int:
    """What a folder takes on disk, MB of 2**20 bytes, as ``du -sm`` says."""
    done = subprocess.run(["du", "-sm", str(path)], capture_output=True, text=True, check=True)
    return int(done.stdout.split()[0])


def _run(command: list[str], place: Path) -> None:
    done = subprocess.run(command, cwd=place, capture_output=True, text=True)
    if done.returncode != 0:
        said = [line for line in (done.stderr or done.stdout).splitlines() if line.strip()]
        raise CannotRun(f"{Path(command[0]).name} {command[1]}: {said[-1] if said else done.returncode}")
