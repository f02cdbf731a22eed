"""What was found out about videos by decoding them, kept between runs so that no run decodes them all again.

A video is known again by its path, size and time of change; the file may be deleted at any time.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from engine.errors import DferError
from engine.files import user_cache, write_text
from train.data.record import Clip

MOST = 200_000
"""Videos remembered; the oldest entries go first."""


@dataclass(frozen=True)
class Known:
    """What decoding a video told.

    Attributes:
        frames: Frames that decode.
        problem: What is wrong with it though it can be used, or None.
    """

    frames: int
    problem: str | None


class ClipMemory:
    """Reads what is remembered, and writes what is new when told to.

    Args:
        path: The file; by default in the user's cache.
    """

    def __init__(self, path: Path | None = None) -> None:
        base = user_cache()
        self._path = path if path is not None or base is None else base / "clips.json"
        self._known: dict[str, Known] = {}
        self._new = False
        if self._path is None:
            return
        try:
            stored = json.loads(self._path.read_text("utf-8"))
            self._known = {str(key): Known(int(frames), problem) for key, (frames, problem) in stored.items()}
        except (OSError, ValueError, TypeError, AttributeError):
            self._known = {}  # none, or not ours: everything is decoded again

    def get(self, clip: Clip) -> Known | None:
        """What is known of a video as it lies on the disk now."""
        return self._known.get(_key(clip))

    def put(self, clip: Clip, known: Known) -> None:
        """Remember a video."""
        self._known[_key(clip)] = known
        self._new = True

    def save(self) -> None:
        """Write what is new; where that cannot be, the next run decodes again."""
        if not self._new or self._path is None:
            return
        kept = dict(list(self._known.items())[-MOST:])
        try:
            write_text(self._path, json.dumps({key: list(asdict(value).values()) for key, value in kept.items()}))
        except DferError:
            return
        self._new = False


def _key(clip: Clip) -> str:
    facts = clip.path.stat()
    return f"{clip.path.resolve()}|{facts.st_size}|{facts.st_mtime_ns}|{clip.start_s}|{clip.end_s}"
