"""Validation cut from training, groups kept whole: model selection never looks at the test part."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import Protocol, TypeVar

import numpy as np

from train.data.record import DataError


class Grouped(Protocol):
    """Anything with a class and a group."""

    @property
    def label(self) -> str:
        """Class name."""

    @property
    def group(self) -> str:
        """Subject or movie, or ``""`` where unknown."""


_T = TypeVar("_T", bound=Grouped)


def cut_validation(clips: Sequence[_T], fraction: float, seed: int) -> tuple[list[int], list[int]]:
    """Split into training and validation, stratified by class, no group on both sides.

    Groups are dealt in random order, each to the side whose class counts it brings nearer to the wanted share; a clip
    of unknown group is a group of its own.

    Args:
        clips: The training clips.
        fraction: Share of validation clips, in (0, 1).
        seed: Of the random order; the same clips and seed give the same split on every machine.

    Returns:
        Indices of the training and of the validation clips, ascending.

    Raises:
        DataError: If there are too few groups to fill both sides.
    """
    if not 0 < fraction < 1:
        raise DataError(f"the validation share must be between 0 and 1, not {fraction}")
    members: dict[str, list[int]] = defaultdict(list)
    for index, clip in enumerate(clips):
        members[clip.group or f"\0{index}"].append(index)
    if len(members) < 2:
        raise DataError("a validation split needs two subjects or more", "state subjects, or give an own val part")
    wanted = {label: count * fraction for label, count in Counter(c.label for c in clips).items()}
    order = list(members)
    np.random.default_rng(seed).shuffle(order)
    # Large groups first: the small ones then even out what they left.
    order.sort(key=lambda group: -len(members[group]))
    held: Counter[str] = Counter()
    validation: list[int] = []
    for group in order:
        counts = Counter(clips[i].label for i in members[group])
        # Squared error per class before and after, relative to what the class should have.
        gain = sum(
            ((held[label] - wanted[label]) ** 2 - (held[label] + n - wanted[label]) ** 2) / wanted[label]
            for label, n in counts.items()
        )
        if gain > 0 and len(validation) + len(members[group]) < len(clips):
            validation += members[group]
            held.update(counts)
    if not validation:
        smallest = min(members.values(), key=len)
        validation = list(smallest)
    inside = set(validation)
    return [i for i in range(len(clips)) if i not in inside], sorted(validation)


def grouped_folds(clips: Sequence[Grouped], folds: int, seed: int) -> list[list[int]]:
    """Deal clips into folds by group, class counts as even as whole groups allow.

    Args:
        clips: Clips with groups.
        folds: Number of folds, at least 2.
        seed: Of the random order.

    Returns:
        For each fold the indices of its test clips; every clip is in exactly one fold.

    Raises:
        DataError: If groups are unknown or fewer than the folds.
    """
    groups = {clip.group for clip in clips}
    if "" in groups:
        raise DataError("a grouped split needs the group of every clip", "add a subject column")
    if folds < 2 or len(groups) < folds:
        raise DataError(f"{len(groups)} groups cannot be dealt into {folds} folds")
    members: dict[str, list[int]] = defaultdict(list)
    for index, clip in enumerate(clips):
        members[clip.group].append(index)
    order = list(members)
    np.random.default_rng(seed).shuffle(order)
    order.sort(key=lambda group: -len(members[group]))
    counts: list[Counter[str]] = [Counter() for _ in range(folds)]
    dealt: list[list[int]] = [[] for _ in range(folds)]
    for group in order:
        labels = Counter(clips[i].label for i in members[group])
        target = min(
            range(folds), key=lambda k: (sum(counts[k][name] * n for name, n in labels.items()), len(dealt[k]))
        )
        dealt[target] += members[group]
        counts[target].update(labels)
    return [sorted(indices) for indices in dealt]
