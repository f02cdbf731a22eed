"""What a parser hands on: clips, and a report of everything that was not as the data set promises."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from engine.errors import DferError
from engine.spec import SpecError, canonical_class


class DataError(DferError):
    """A data set that cannot be used as asked; the message names the path and the remedy."""


@dataclass(frozen=True)
class Clip:
    """One labelled clip.

    Attributes:
        name: Unique within its set; how reports and predictions name it.
        path: A folder of frames, or a video file.
        label: Canonical class name (`engine.spec.canonical_class`).
        group: Who or what the clip comes from (subject, movie), or ``""`` where unknown. Splits keep groups whole.
        start_s: First second used of a video file.
        end_s: Second at which the clip ends, exclusive, or None for the whole file.
        truth: Per frame, whether it shows the expression, where that is known (synthetic clips); else None.
    """

    name: str
    path: Path
    label: str
    group: str = ""
    start_s: float = 0.0
    end_s: float | None = None
    truth: tuple[bool, ...] | None = None


@dataclass(frozen=True)
class CountedClip:
    """A clip and its frames as counted on the disk.

    Attributes:
        clip: The clip.
        frames: n, at least 1.
    """

    clip: Clip
    frames: int


@dataclass
class DataReport:
    """What was found and what was wrong, by name: nothing is dropped without an entry here.

    Attributes:
        source: What was read, for example ``"DFEW fold 1 train"``.
        clips: Number of usable clips.
        per_class: Usable clips per class, every class of the set named, also at 0.
        short: Clips with fewer frames than the window; they are padded and kept.
        problems: kind -> names of what it befell; kinds are sentences such as ``"no frames on disk"``.
    """

    source: str
    clips: int = 0
    per_class: dict[str, int] = field(default_factory=dict)
    short: list[str] = field(default_factory=list)
    problems: dict[str, list[str]] = field(default_factory=dict)

    def problem(self, kind: str, name: str) -> None:
        """Count one problem under its kind and the name of what it befell."""
        self.problems.setdefault(kind, []).append(name)

    @property
    def problem_count(self) -> int:
        """How many things were wrong."""
        return sum(len(names) for names in self.problems.values())

    @property
    def empty_classes(self) -> list[str]:
        """Classes without a single usable clip."""
        return [name for name, count in self.per_class.items() if count == 0]

    def finish(self, clips: Sequence[Clip], labels: Sequence[str]) -> None:
        """Count the usable clips per class, the classes of the set in their order.

        Raises:
            DataError: If no clip is usable at all; the message says what was wrong instead.
        """
        counts = Counter(clip.label for clip in clips)
        self.clips = len(clips)
        self.per_class = {label: counts.get(label, 0) for label in labels}
        if not clips:
            said = "; ".join(line.strip() for line in self.text().splitlines()[1:])
            raise DataError(f"{self.source}: not one usable clip", said)

    def text(self, examples: int = 3) -> str:
        """The report as lines for a terminal.

        Args:
            examples: Names shown per kind of problem.
        """
        lines = [f"{self.source}: {self.clips} clips"]
        if self.per_class:
            lines.append("  " + ", ".join(f"{label} {count}" for label, count in self.per_class.items()))
        if self.empty_classes:
            lines.append(f"  EMPTY CLASSES: {', '.join(self.empty_classes)}")
        if self.short:
            lines.append(f"  {len(self.short)} clips are shorter than the window and are padded")
        for kind, names in self.problems.items():
            shown = ", ".join(names[:examples]) + (", …" if len(names) > examples else "")
            lines.append(f"  {len(names)} × {kind}: {shown}")
        return "\n".join(lines)

    def to_dict(self) -> dict[str, object]:
        """The report as JSON-ready values, all names in full."""
        return {
            "source": self.source,
            "clips": self.clips,
            "per_class": dict(self.per_class),
            "empty_classes": self.empty_classes,
            "short": list(self.short),
            "problems": {kind: list(names) for kind, names in self.problems.items()},
        }


class ClipList:
    """The clips of an annotation file, each once and only where it is on the disk.

    Args:
        report: Counts what is left out.
    """

    def __init__(self, report: DataReport) -> None:
        self.clips: list[Clip] = []
        self._report = report
        self._names: set[str] = set()

    def add(self, name: str, path: Path | None, label: str) -> None:
        """Add a clip.

        Args:
            name: Its name.
            path: Where it is, or None if it was found nowhere.
            label: Its canonical class.
        """
        if name in self._names:
            self._report.problem("clip is listed twice", name)
        elif path is None or not path.exists():
            self._report.problem("no frame folder on disk", name)
        else:
            self._names.add(name)
            self.clips.append(Clip(name, path, label))


def label_of(spelling: str, report: DataReport, name: str) -> str | None:
    """The canonical class of a spelling, or None with the problem counted."""
    try:
        return canonical_class(spelling)
    except SpecError:
        report.problem(f"unknown class {spelling.strip()!r}", name)
        return None


def read_lines(path: Path, report: DataReport) -> list[str]:
    """Lines of an annotation file whatever its encoding; bytes that are not UTF-8 are reported.

    A byte-order mark and blank lines are dropped. Bytes that are not UTF-8 are read as GB 18030 where the line allows
    (MAFW's captions are Chinese) and else as Latin-1, which cannot fail; names and labels are ASCII either way.

    Raises:
        DataError: If the file is missing or unreadable.
    """
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise DataError(f"cannot read annotation file {path} ({error.strerror})", "check the data root") from error
    lines: list[str] = []
    for number, line in enumerate(raw.removeprefix(b"\xef\xbb\xbf").splitlines(), start=1):
        try:
            text = line.decode("utf-8")
        except UnicodeDecodeError:
            report.problem("line is not UTF-8 (read all the same)", f"{path.name}:{number}")
            try:
                text = line.decode("gb18030")
            except UnicodeDecodeError:
                text = line.decode("latin-1")
        if text.strip():
            lines.append(text)
    return lines
