"""What there is to score: paths become items, each one piece of work whose rows appear together."""

from __future__ import annotations

import hashlib
import os
import zipfile
from collections.abc import Iterator, Sequence
from functools import lru_cache
from pathlib import Path

import msgspec

from engine.bundle.files import file_sha256
from stream.camera.kinds import ARCHIVE, IMAGE, IMAGE_SUFFIXES, OTHER, SOUND, VIDEO, VIDEO_SUFFIXES, sniff, used_as
from stream.camera.paths import natural
from stream.offline.archive import escapes, is_image_member
from stream.offline.storage import Store, is_url

FACES_PER_ITEM = 256
STILLS_PER_ITEM = 16
_FOLDER = "folder"
_WORDS = {SOUND: "sound, with no picture", OTHER: "no video, image or zip"}


class Item(msgspec.Struct, frozen=True):
    """One piece of work.

    Attributes:
        kind: ``video`` (a file or a folder of frames), ``stills`` (images with faces in them) or ``faces`` (crops).
        key: Names it in the journal.
        path: The video, the folder of frames, or the archive; empty for loose images.
        names: Members of the archive or paths of loose images.
        stamp: Changes when a file changes.
        root: The folder on the command line that it was found in; empty where it was named itself.
        size: Of its files, bytes; of an archive's part, of the archive.
    """

    kind: str
    key: str
    path: str
    names: tuple[str, ...]
    stamp: str
    root: str = ""
    size: int = 0


class Problem(msgspec.Struct, frozen=True):
    """Something that cannot be scored: which path, and why in one line."""

    path: str
    reason: str


class Plan(msgspec.Struct):
    """Everything to do.

    Attributes:
        items: In the order of the rows.
        problems: What was named and cannot be used.
        left_out: What lies in a folder or an archive and is not used: each file, with the reason.
    """

    items: list[Item]
    problems: list[Problem]
    left_out: list[Problem]


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
        if is_url(path) and not path.startswith("file://"):
            made.add_remote(path)
        else:
            made.add(Path(path.removeprefix("file://")))
    return Plan(made.items, made.problems, made.left_out)


class _Planner:
    def __init__(self, faces: bool) -> None:
        self.items: list[Item] = []
        self.problems: list[Problem] = []
        self.left_out: list[Problem] = []
        self._faces = faces
        self._root = ""
        self._seen: dict[str, Path] = {}

    def add(self, path: Path) -> None:
        try:
            if path.is_dir():
                self._root = str(path)
                if not self._folder(path):
                    wanted = "images" if self._faces else "videos, images or archives"
                    self.problems.append(Problem(str(path), f"the folder holds no {wanted}: nothing to score"))
                self._root = ""
            elif path.is_file():
                self._named(path)
            elif path.exists():
                self.problems.append(Problem(str(path), "is neither a file nor a folder"))
            else:
                self.problems.append(Problem(str(path), "does not exist: check the path"))
        except OSError as error:
            self.problems.append(Problem(str(path), f"cannot be read: {error.strerror}"))

    def add_remote(self, url: str) -> None:
        """Videos of an object store, by their names: looking into each would cost a request for every file."""
        store = Store(url)
        found = list(store.files()) or store.itself()
        for name, size, changed_ns in found:
            path = store.join(name)
            if Path(path.partition("?")[0]).suffix.lower() not in VIDEO_SUFFIXES:
                self.left_out.append(Problem(path, "is no video by its name, and only videos are read from there"))
            elif self._faces:
                self.left_out.append(Problem(path, "is a video, and --faces scores images"))
            else:
                stamp = hashlib.sha256(f"{name}\0{size}\0{changed_ns}".encode()).hexdigest()[:16]
                self.items.append(Item("video", path, path, (), stamp, url if name else "", size))
        if not found:
            self.problems.append(Problem(url, "holds nothing"))

    def _folder(self, folder: Path) -> bool:
        """Take what a folder and those in it hold; says whether that was anything."""
        found: dict[str, list[Path]] = {kind: [] for kind in (IMAGE, ARCHIVE, VIDEO, _FOLDER)}
        for path in sorted(folder.iterdir(), key=natural):
            kind = self._use(path)
            if kind in found:
                found[kind].append(path)
            else:
                self.left_out.append(Problem(str(path), kind))
        images, others = found[IMAGE], sorted([*found[ARCHIVE], *found[VIDEO]], key=natural)
        if images and not self._faces and not others:
            # Images alone are the frames of one recording, as `run` plays such a folder.
            if self._new(folder):
                self._item("video", str(folder), str(folder), (), images)
        elif images:
            self._images(images)
        for path in others:
            self._take(path, path in found[ARCHIVE])
        below = [self._folder(path) for path in found[_FOLDER]]
        return bool(images or others) or any(below)

    def _use(self, path: Path) -> str:
        """What a file or folder in a folder is used as; else why it is not."""
        if path.name.startswith("."):
            return "is hidden"
        if path.is_dir():
            return "is a link to a folder, which is not followed" if path.is_symlink() else _FOLDER
        if not path.is_file():
            return "is no file"
        try:
            kind = used_as(path)
            if kind == VIDEO and self._faces:
                return "is a video, and --faces scores images"
            if kind in (IMAGE, ARCHIVE, VIDEO):
                return kind
            return "is empty" if path.stat().st_size == 0 else f"is {_WORDS[kind]}"
        except OSError as error:
            return f"cannot be read: {error.strerror}"

    def _named(self, path: Path) -> None:
        """A file of the command line: taken for a video where it is nothing else, whatever its name."""
        if used_as(path) == IMAGE:
            self._images([path])
        else:
            self._take(path, sniff(path) == ARCHIVE or path.suffix.lower() == ".zip")

    def _take(self, path: Path, archive: bool) -> None:
        if archive:
            if self._new(path):
                self._archive(path)
        elif self._faces:
            self._refuse(path, "--faces scores images, folders of images and zips of images")
        elif self._new(path):
            self._item("video", str(path), str(path), (), [path])

    def _images(self, paths: list[Path]) -> None:
        fresh = [path for path in paths if self._new(path)]
        for part in _parts(fresh, self._size):
            names = tuple(str(path) for path in part)
            self._item(self._kind, f"{names[0]}+{len(names)}", "", names, part)

    def _refuse(self, path: Path, reason: str) -> None:
        """Something that cannot be used; a failure where it was named, in a folder one more that is left out."""
        (self.left_out if self._root else self.problems).append(Problem(str(path), reason))

    def _item(self, kind: str, key: str, path: str, names: tuple[str, ...], files: Sequence[Path]) -> None:
        stats = [file.stat() for file in files]
        whole = hashlib.sha256()
        for file, stat in zip(files, stats, strict=True):
            whole.update(f"{file.name}\0{stat.st_size}\0{stat.st_mtime_ns}\0".encode())
        size = sum(stat.st_size for stat in stats)
        self.items.append(Item(kind, key, path, names, whole.hexdigest()[:16], self._root, size))

    def _archive(self, path: Path) -> None:
        try:
            with zipfile.ZipFile(path) as archive:
                members = [info for info in archive.infolist() if not info.is_dir()]
                images = [info for info in members if not escapes(info.filename) and is_image_member(archive, info)]
        except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
            self._refuse(path, f"is no zip archive that can be read: {error}")
            return
        escaping = [info.filename for info in members if escapes(info.filename)]
        used = {info.filename for info in images}
        others = [info.filename for info in members if info.filename not in used and not escapes(info.filename)]
        if others and images:
            self.left_out.append(Problem(str(path), f"{len(others)} members are no images: {', '.join(others)}"))
        if escaping:
            some = ", ".join(escaping[:3]) + (", …" if len(escaping) > 3 else "")
            self._refuse(path, f"members that point out of the archive are left out: {some}")
        if not images and not escaping:
            self._refuse(path, f"the archive holds no images ({', '.join(IMAGE_SUFFIXES)})")
        names = list(dict.fromkeys(info.filename for info in images))
        for number, part in enumerate(_parts(names, self._size)):
            self._item(self._kind, f"{path}#{number}", str(path), tuple(part), [path])

    @property
    def _kind(self) -> str:
        return "faces" if self._faces else "stills"

    @property
    def _size(self) -> int:
        return FACES_PER_ITEM if self._faces else STILLS_PER_ITEM

    def _new(self, path: Path) -> bool:
        real = os.path.realpath(path)
        if (before := self._seen.setdefault(real, path)) is not path:
            again = "was named before" if before == path else f"is the same file as {before}"
            self.left_out.append(Problem(str(path), f"{again}: scored once"))
            return False
        return True


def digest(item: Item) -> str:
    """SHA-256 of what an item's files hold: of one file its own; of several, of theirs in their order."""
    if item.path and Path(item.path).is_dir():
        paths = [path for path in sorted(Path(item.path).iterdir(), key=natural) if path.is_file()]
    else:
        paths = [Path(item.path)] if item.path else [Path(name) for name in item.names]
    hashes = [_hash_file(path, path.stat().st_mtime_ns) for path in paths]
    return hashes[0] if len(hashes) == 1 else hashlib.sha256("".join(hashes).encode()).hexdigest()


@lru_cache(4)
def _hash_file(path: Path, _mtime_ns: int) -> str:
    """Of an archive of many items, once for all of them."""
    return file_sha256(path)


def _parts(things: list, size: int) -> Iterator[list]:  # type: ignore[type-arg]
    for start in range(0, len(things), size):
        yield things[start : start + size]
