"""Members of an archive of images: which are images, and which names lie.

A path inside an archive is never written to disk, so an escape (``../``) can do no harm; it is refused all the same,
because a name that lies is no name for a row.
"""

from __future__ import annotations

import re
import zipfile
from pathlib import PurePosixPath

from stream.camera.kinds import IMAGE, IMAGE_SUFFIXES, kind_of

UNPACKING_ERRORS = (zipfile.BadZipFile, zipfile.LargeZipFile, RuntimeError, OSError, ValueError, EOFError)
"""RuntimeError is what zipfile says of an encrypted member or an unknown compression."""


def escapes(member: str) -> bool:
    """Whether a member's name points out of its archive: absolute, with a drive, or through ``..``."""
    path = PurePosixPath(member.replace("\\", "/"))
    return path.is_absolute() or ".." in path.parts or bool(re.match(r"[A-Za-z]:", member)) or "\0" in member


def is_image_member(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> bool:
    """Whether a member is an image, by its name, else by its content."""
    path = PurePosixPath(info.filename)
    # macOS puts a shadow of every file beside it.
    if path.name.startswith(".") or "__MACOSX" in path.parts:
        return False
    if path.suffix.lower() in IMAGE_SUFFIXES:
        return True
    try:
        with archive.open(info) as member:
            return kind_of(member.read(64)) == IMAGE
    except UNPACKING_ERRORS:
        return False
