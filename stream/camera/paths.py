"""Where file sources lie on disk. Imports no OpenCV: the parent checks here before it starts anything."""

from __future__ import annotations

import os
import re
from pathlib import Path

from stream.camera.frame import CameraError
from stream.camera.kinds import IMAGE, IMAGE_SUFFIXES, sniff
from stream.camera.uri import SourceUri


def demo_clip_path() -> Path:
    """Find the clip that ``demo://`` plays.

    Raises:
        CameraError: If it was not installed.
    """
    path = Path(__file__).resolve().parent.parent / "demo" / "clip.mp4"
    if not path.is_file():
        raise CameraError(f"the demo clip {path} is missing", "install dferstream again, or name another --source")
    return path


def find_file(uri: SourceUri) -> Path:
    """Find the file or folder that a URI names.

    Raises:
        CameraError: If it is missing, unreadable, empty, or a folder without images.
    """
    if uri.kind == "demo":
        return demo_clip_path()
    path = Path(uri.target).expanduser()
    if not path.exists():
        raise CameraError(f"{path} does not exist", f"check the path (relative ones start at {Path.cwd()})")
    if not os.access(path, os.R_OK):
        raise CameraError(f"{path} may not be read", "check its permissions")
    if path.is_dir():
        image_paths(path)
    elif not path.is_file():
        raise CameraError(f"{path} is neither a file nor a folder", f"for a camera give v4l2://{path}")
    elif path.stat().st_size == 0:
        raise CameraError(f"{path} is empty")
    return path.absolute()


def image_paths(folder: Path) -> list[Path]:
    """List a folder's images in natural order (``2.png`` before ``10.png``).

    Raises:
        CameraError: If there are none.
    """
    paths = [p for p in folder.iterdir() if p.is_file() and not p.name.startswith(".") and _is_image(p)]
    if not paths:
        raise CameraError(f"the folder {folder} holds no images ({', '.join(IMAGE_SUFFIXES)})")
    return sorted(paths, key=natural)


def _is_image(path: Path) -> bool:
    # Folders of frames are large: a name that says so is believed, and only others are looked into.
    return path.suffix.lower() in IMAGE_SUFFIXES or sniff(path) == IMAGE


def natural(path: Path) -> list[tuple[int, int, str]]:
    """A sorting key that puts ``2.png`` before ``10.png``."""
    parts = re.split(r"(\d+)", path.name)
    return [(1, int(part), part) if part.isascii() and part.isdigit() else (0, 0, part) for part in parts]
