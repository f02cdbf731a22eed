"""What there is to score: paths become items, each one piece of work whose rows appear together.

A path inside an archive is never written to disk, so an escape (``../``) can do no harm; it is refused all the same,
because a name that lies is no name for a row.
"""

from __future__ import annotations

import hashlib
import os
import re
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath

import msgspec

from stream.camera.paths import IMAGE_SUFFIXES, natural

VIDEO_SUFFIXES = (
    ".mp4", ".m4v", ".mov", ".avi", ".mkv", ".webm", ".mpg", ".mpeg", ".gif", ".wmv", ".flv", ".ts", ".mts", ".3gp",
    ".ogv",
)  # fmt: skip
"""What is taken for a video inside a folder; a file that is named itself is tried whatever its name."""
FACES_PER_ITEM = 256
STILLS_PER_ITEM = 16
MEMBER_LIMIT = 64 << 20
"""Largest unpacked size of an image in an archive, bytes: an archive may unpack to far more than its own size."""


class Item(msgspec.Struct, frozen=True):
    """One piece of work.

    Attributes:
        kind: ``video`` (a file or a folder of frames), ``stills`` (images with faces in them) or ``faces`` (crops).
        key: Names it in the journal.
        path: The video, the folder of frames, or the archive; empty for loose images.
        names: Members of the archive or paths of loose images.
        stamp: Changes when a file changes.
    """

    kind: str
    key: str
    path: str
    names: tuple[str, ...]
    stamp: str


class Problem(msgspec.Struct, frozen=True):
    """Something that cannot be scored: which path, and why in one line."""

    path: str
    reason: str


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


class Plan(msgspec.Struct):
    """Everything to do, in the order of the rows, and what was found wrong on the way."""

    items: list[Item]
    problems: list[Problem]


def plan(paths: Sequence[str], faces: bool) -> Plan:
    """Find what the paths hold.

    Args:
        paths: Videos, images, archives of images, or folders of any of these.
        faces: Whether images are crops of one face each; videos are then refused.

    Returns:
        The items in the order of the paths, in a folder by name; no file twice.
    """
    made = _Planner(faces)
    for path in paths:
        made.add(Path(path))
    return Plan(made.items, made.problems)


class _Planner:
    def __init__(self, faces: bool) -> None:
        self.items: list[Item] = []
        self.problems: list[Problem] = []
        self._faces = faces
        self._seen: set[str] = set()

    def add(self, path: Path) -> None:
        try:
            if path.is_dir():
                if not self._folder(path):
                    wanted = "images" if self._faces else "videos, images or archives"
                    self.problems.append(Problem(str(path), f"the folder holds no {wanted}: nothing to score"))
            elif path.is_file():
                self._file(path)
            elif path.exists():
                self.problems.append(Problem(str(path), "is neither a file nor a folder"))
            else:
                self.problems.append(Problem(str(path), "does not exist: check the path"))
        except OSError as error:
            self.problems.append(Problem(str(path), f"cannot be read: {error.strerror}"))

    def _folder(self, folder: Path) -> bool:
        """Take what a folder and those in it hold; says whether that was anything."""
        entries = sorted((p for p in folder.iterdir() if not p.name.startswith(".")), key=natural)
        files = [p for p in entries if p.is_file()]
        images = [p for p in files if p.suffix.lower() in IMAGE_SUFFIXES]
        others = [p for p in files if p.suffix.lower() == ".zip" or (not self._faces and _is_video(p))]
        if images and not self._faces and not others:
            # Images alone are the frames of one recording, as `run` plays such a folder.
            if self._new(folder):
                self.items.append(Item("video", str(folder), str(folder), (), _stamp(images)))
        elif images:
            self._images(images)
        for path in others:
            self._file(path)
        below = [self._folder(p) for p in entries if p.is_dir() and not p.is_symlink()]
        return bool(images or others) or any(below)

    def _file(self, path: Path) -> None:
        suffix = path.suffix.lower()
        if suffix == ".zip":
            if self._new(path):
                self._archive(path)
        elif suffix in IMAGE_SUFFIXES:
            self._images([path])
        elif self._faces:
            self.problems.append(Problem(str(path), "--faces scores images, folders of images and zips of images"))
        elif self._new(path):
            self.items.append(Item("video", str(path), str(path), (), _stamp([path])))

    def _images(self, paths: list[Path]) -> None:
        fresh = [path for path in paths if self._new(path)]
        for part in _parts(fresh, self._size):
            names = tuple(str(path) for path in part)
            self.items.append(Item(self._kind, f"{names[0]}+{len(names)}", "", names, _stamp(part)))

    def _archive(self, path: Path) -> None:
        try:
            with zipfile.ZipFile(path) as archive:
                members = [info for info in archive.infolist() if not info.is_dir()]
        except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
            self.problems.append(Problem(str(path), f"is no zip archive that can be read: {error}"))
            return
        escaping = [info.filename for info in members if escapes(info.filename)]
        images = [info for info in members if info.filename not in escaping and _is_image(info)]
        if escaping:
            some = ", ".join(escaping[:3]) + (", …" if len(escaping) > 3 else "")
            self.problems.append(Problem(str(path), f"members that point out of the archive are left out: {some}"))
        if not images and not escaping:
            self.problems.append(Problem(str(path), f"the archive holds no images ({', '.join(IMAGE_SUFFIXES)})"))
        names = list(dict.fromkeys(info.filename for info in images))
        stamp = _stamp([path])
        for number, part in enumerate(_parts(names, self._size)):
            self.items.append(Item(self._kind, f"{path}#{number}", str(path), tuple(part), stamp))

    @property
    def _kind(self) -> str:
        return "faces" if self._faces else "stills"

    @property
    def _size(self) -> int:
        return FACES_PER_ITEM if self._faces else STILLS_PER_ITEM

    def _new(self, path: Path) -> bool:
        real = os.path.realpath(path)
        if real in self._seen:
            return False
        self._seen.add(real)
        return True


def escapes(member: str) -> bool:
    """Whether a member's name points out of its archive: absolute, with a drive, or through ``..``."""
    path = PurePosixPath(member.replace("\\", "/"))
    return path.is_absolute() or ".." in path.parts or bool(re.match(r"[A-Za-z]:", member)) or "\0" in member


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
            except (zipfile.BadZipFile, zipfile.LargeZipFile, RuntimeError, OSError, ValueError, EOFError) as error:
                # RuntimeError is what zipfile says of an encrypted member or an unknown compression.
                yield ImageFile(path, name, problem=f"cannot be unpacked: {error}")


def _is_video(path: Path) -> bool:
    return path.suffix.lower() in VIDEO_SUFFIXES


def _is_image(info: zipfile.ZipInfo) -> bool:
    path = PurePosixPath(info.filename)
    # macOS puts a shadow of every file beside it.
    hidden = path.name.startswith(".") or "__MACOSX" in path.parts
    return path.suffix.lower() in IMAGE_SUFFIXES and not hidden


def _parts(things: list, size: int) -> Iterator[list]:  # type: ignore[type-arg]
    for start in range(0, len(things), size):
        yield things[start : start + size]


def _stamp(paths: Sequence[Path]) -> str:
    digest = hashlib.sha256()
    for path in paths:
        stat = path.stat()
        digest.update(f"{path.name}\0{stat.st_size}\0{stat.st_mtime_ns}\0".encode())
    return digest.hexdigest()[:16]
