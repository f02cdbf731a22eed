"""The images of an item, loose or in an archive, read but not decoded."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from pathlib import Path

import msgspec

from stream.offline.archive import UNPACKING_ERRORS
from stream.offline.inputs import Item

MEMBER_LIMIT = 64 << 20
"""Largest unpacked size of an image in an archive, bytes: an archive may unpack to far more than its own size."""


class ImageFile(msgspec.Struct, frozen=True):
    """One image of an item, read but not decoded.

    Attributes:
        path: Of its row.
        member: Its name in the archive, where it lies in one.
        data: The file's bytes.
        problem: Why there are none; None where there are.
    """

    path: str
    member: str | None
    data: bytes = b""
    problem: str | None = None


def read_images(item: Item) -> Iterator[ImageFile]:
    """The images of an item."""
    if not item.path:
        for name in item.names:
            try:
                yield ImageFile(name, None, Path(name).read_bytes())
            except OSError as error:
                yield ImageFile(name, None, problem=f"cannot be read: {error.strerror}")
        return
    with zipfile.ZipFile(item.path) as archive:
        for name in item.names:
            path = f"{item.path}/{name}"
            try:
                if archive.getinfo(name).file_size > MEMBER_LIMIT:
                    yield ImageFile(path, name, problem=f"unpacks to more than {MEMBER_LIMIT >> 20} MiB: left out")
                    continue
                yield ImageFile(path, name, archive.read(name))
            except UNPACKING_ERRORS as error:
                yield ImageFile(path, name, problem=f"cannot be unpacked: {error}")
