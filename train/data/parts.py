"""The parts of a data set that a run uses: training, validation cut from it, and test; named and reported."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from engine.settings import SettingsError
from engine.spec import SEVEN_CLASSES
from train.data import sources
from train.data.layouts.synthetic import LARGE_TRAIN_SET, TEST_SET, TRAIN_SET, SyntheticClips, SyntheticSettings
from train.data.own.shared import refuse_shared
from train.data.record import Clip, CountedClip, DataReport
from train.data.source import DiskSource, Source, Subset, SyntheticSource
from train.data.split import cut_validation, grouped_folds
from train.settings import DataSettings


@dataclass(frozen=True)
class Parts:
    """What a run trains, chooses and tests on.

    Attributes:
        labels: Classes in the order of the logits.
        train: Training clips.
        validation: Clips cut from training, or None.
        test: The test part, or None where it was not asked for.
        reports: What was found and what was wrong, per part read.
    """

    labels: tuple[str, ...]
    train: Source | None
    validation: Source | None
    test: Source | None
    reports: tuple[DataReport, ...]


def data_labels(settings: DataSettings) -> tuple[str, ...]:
    """Classes of a data set, in its order; for one's own clips those of the files, in the project's order.

    Raises:
        DataError: If the files cannot be read.
    """
    if settings.source == "synthetic":
        return SEVEN_CLASSES
    known = sources.LABELS[settings.source]
    if known is not None:
        return known
    if not settings.root:
        raise SettingsError("data.root is not set", "give the data set's folder with --data")
    _, report = sources.load(settings.source, Path(settings.root).expanduser(), "train", settings.fold)
    return tuple(report.per_class)


def load_parts(
    settings: DataSettings, samples: int, seed: int, want_train: bool = True, want_test: bool = True
) -> Parts:
    """Read and check the parts of a run.

    Args:
        settings: Which data.
        samples: T, for the report of short clips.
        seed: Of the validation cut and of a grouped split.
        want_train: Read the training part.
        want_test: Read the test part.

    Raises:
        DataError: If a part is missing or has no usable clip.
        SettingsError: If the settings contradict each other.
    """
    if settings.source == "synthetic":
        return _synthetic(settings, seed, want_train, want_test)
    if not settings.root:
        raise SettingsError("data.root is not set", "give the data set's folder with --data")
    root = Path(settings.root).expanduser()
    names = (["train"] if want_train else []) + (["test"] if want_test else [])
    if settings.split == "grouped":
        names = ["train", "test"]
    fold = settings.fold if settings.split == "official" else 1
    read = {name: sources.load(settings.source, root, name, fold) for name in names}
    labels = data_labels(settings)
    counted = {
        name: sources.check_frames(clips, report, samples, labels, settings.verify)
        for name, (clips, report) in read.items()
    }
    if settings.source == "clips" and root.is_dir():
        _own_parts(root, read, counted, settings, samples, labels)
    reports = tuple(report for _, report in read.values())
    if settings.split == "grouped":
        counted = _regroup(counted["train"] + counted["test"], settings, seed)
    test = DiskSource(counted["test"]) if want_test else None
    if not want_train:
        return Parts(labels, None, None, test, reports)
    if "val" in counted and settings.split == "official":
        return Parts(labels, DiskSource(counted["train"]), DiskSource(counted["val"]), test, reports)
    train, validation = _cut(DiskSource(counted["train"]), settings, seed)
    return Parts(labels, train, validation, test, reports)


def _own_parts(
    root: Path,
    read: dict[str, tuple[list[Clip], DataReport]],
    counted: dict[str, list[CountedClip]],
    settings: DataSettings,
    samples: int,
    labels: tuple[str, ...],
) -> None:
    # Every list of the folder counts, also one that this run does not use: a clip in training and in the test part
    # would only be found when it is too late.
    for name in ("train", "val", "test"):
        if name in read or not (root / f"{name}.csv").is_file():
            continue
        clips, report = sources.load(settings.source, root, name, 1)
        counted[name] = sources.check_frames(clips, report, samples, labels, settings.verify)
        if name == "val" and "train" in read:
            read[name] = clips, report
    refuse_shared(counted, {name: report for name, (_, report) in read.items()})


def _regroup(clips: list[CountedClip], settings: DataSettings, seed: int) -> dict[str, list[CountedClip]]:
    folds = grouped_folds([item.clip for item in clips], settings.folds, seed)
    if settings.fold > settings.folds:
        raise SettingsError(f"data.fold {settings.fold} is beyond data.folds {settings.folds}")
    held = set(folds[settings.fold - 1])
    return {
        "train": [item for i, item in enumerate(clips) if i not in held],
        "test": [item for i, item in enumerate(clips) if i in held],
    }


def _cut(source: Source, settings: DataSettings, seed: int) -> tuple[Source, Source | None]:
    if settings.validation == 0:
        return source, None
    kept, held = cut_validation(source.clips, settings.validation, seed)
    return Subset(source, kept), Subset(source, held)


def synthetic_settings(settings: DataSettings, part: str) -> SyntheticSettings:
    """The committed synthetic set, or one of another size, noise or side; training and test faces never meet."""
    base = TRAIN_SET if part == "train" else TEST_SET
    if settings.clips > TRAIN_SET.clips:
        # More faces than TRAIN_SET's would run into the test part's: the large set's begin behind them.
        if part == "train":
            base = replace(LARGE_TRAIN_SET, clips=settings.clips, identities=settings.clips)
    elif settings.clips:
        share = settings.clips / TRAIN_SET.clips
        base = replace(base, clips=max(7, round(base.clips * share)), identities=max(2, round(base.identities * share)))
    return replace(base, noise=settings.noise, size_px=settings.size_px)


def _synthetic(settings: DataSettings, seed: int, want_train: bool, want_test: bool) -> Parts:
    reports = []
    drawn: dict[str, Source] = {}
    for part, wanted in (("train", want_train), ("test", want_test)):
        if wanted:
            clips = SyntheticClips(synthetic_settings(settings, part))
            reports.append(DataReport(f"synthetic {part} {clips.composition()[:12]}", len(clips)))
            drawn[part] = SyntheticSource(clips)
    train, validation = _cut(drawn["train"], settings, seed) if want_train else (None, None)
    return Parts(SEVEN_CLASSES, train, validation, drawn.get("test"), tuple(reports))
