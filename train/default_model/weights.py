"""What runs of the encoders leave: weights with what is said of them, means of runs, and whom a run descends from.

A run's folder holds ``last.safetensors``, its averaged weights and its record in one file. Others are named in a record
by name and hash of their weights, never by their own records.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from engine.settings import values_of
from engine.spec import SEVEN_CLASSES
from train.default_model.recipe import BASE, read_stage
from train.models.compact.encoder import CompactEncoder, FrameClassifier, GreyEncoder
from train.models.compact.grow import blended
from train.models.compact.separable import SeparableEncoder
from train.models.compact.shape import EncoderConfig, EncoderShape, SeparableConfig
from train.training.checkpoint import CheckpointError, load_tensors, save_tensors, tensors_sha256

FILE = "last.safetensors"


@dataclass(frozen=True)
class Trained:
    """What one run left.

    Attributes:
        name: Of the run.
        weights: Averaged weights by name.
        record: How they came to be: ``config``, ``shape``, ``data_sha256``, and of a run ``world``, ``epochs`` and
            ``spent_s``, of a mean of runs ``mean`` (shares by name); where there are such, ``start`` and ``teachers``
            (each by ``name`` and ``sha256``) and ``pretrained`` (what the first run of its line started from).
    """

    name: str
    weights: Mapping[str, Tensor]
    record: Mapping[str, Any]

    @property
    def identity(self) -> dict[str, str]:
        """Name and hash, by which others' records know it."""
        return {"name": self.name, "sha256": tensors_sha256(self.weights)}

    def classifier(self) -> FrameClassifier:
        """The encoder with its classifier, in evaluation mode."""
        model = FrameClassifier(build_encoder(read_shape(self.record["shape"])), len(SEVEN_CLASSES))
        model.load_state_dict(dict(self.weights))
        return model.eval()


def read_run(folder: Path) -> Trained:
    """What the run in a folder left.

    Raises:
        CheckpointError: Where it is missing, broken or not of such a run.
    """
    weights, record = load_tensors(folder / FILE)
    if "shape" not in record:
        raise CheckpointError(f"{folder / FILE} is of no run of the default model", "name the folder of its runs")
    return Trained(folder.name, weights, record)


def write_blend(shallow: Trained, deep: Trained, share: float, out: Path) -> None:
    """Write weights between two runs, the second of which started from the first.

    Args:
        shallow: The first run.
        deep: The second.
        share: Of the second, see :func:`~train.models.compact.grow.blended`.
        out: Folder that gets the weights; there is nothing to resume.

    Raises:
        GrowError: Where the second cannot have started from the first.
    """
    weights = blended(shallow.weights, deep.weights, share)
    save_tensors(out / FILE, weights, _of_mean(deep, {shallow.name: 1 - share, deep.name: share}))


def write_average(runs: Sequence[Trained], shares: Sequence[float], out: Path) -> None:
    """Write the mean of the weights in which successive runs of one encoder ended.

    Args:
        runs: Each went on from the one before it.
        shares: Of each, in the same order; they sum to 1.
        out: Folder that gets the weights; there is nothing to resume.

    Raises:
        CheckpointError: Where one is of another shape, or did not start from the one before it.
    """
    for before, run in itertools.pairwise(runs):
        if run.record.get("start") != before.identity:
            raise CheckpointError(
                f"{run.name} did not go on from {before.name} as it stands", "only one way's ends have a mean"
            )
    last = runs[-1]
    shapes = [{name: value.shape for name, value in run.weights.items()} for run in runs]
    if any(shape != shapes[-1] for shape in shapes):
        raise CheckpointError(f"the runs before {last.name} have another shape", "only equal ones have a mean")
    mean = {
        name: sum((share * run.weights[name] for share, run in zip(shares, runs, strict=True)), torch.zeros_like(value))
        if value.is_floating_point()
        else value
        for name, value in last.weights.items()
    }
    save_tensors(out / FILE, mean, _of_mean(last, dict(zip((run.name for run in runs), shares, strict=True))))


def _of_mean(last: Trained, shares: Mapping[str, float]) -> dict[str, Any]:
    kept = ("config", "shape", "data_sha256", "pretrained")
    record = {name: value for name, value in last.record.items() if name in kept}
    return {**record, "start": last.identity, "mean": dict(shares)}


def build_encoder(shape: EncoderShape) -> GreyEncoder:
    """A fresh encoder of this shape."""
    if isinstance(shape, SeparableConfig):
        return SeparableEncoder(shape)
    if isinstance(shape, EncoderConfig):
        return CompactEncoder(shape)
    raise TypeError(f"{type(shape).__name__} is no encoder's shape")


def read_shape(values: Mapping[str, Any]) -> EncoderConfig | SeparableConfig:
    """The shape that a run's record holds."""
    taken: dict[str, Any] = {name: tuple(value) if isinstance(value, list) else value for name, value in values.items()}
    return SeparableConfig(**taken) if "strides" in taken else EncoderConfig(**taken)


def lineage(run: Trained, runs: Path) -> list[dict[str, Any]]:
    """Whom a run descends from, who taught them, and itself at last: a line's worth of each.

    Args:
        run: The run.
        runs: Folder of all runs.

    Returns:
        Rows of :func:`summary`, each after those it was made from.

    Raises:
        CheckpointError: Where one is missing, or is not what a record names.
    """
    found: dict[str, dict[str, Any]] = {}

    def follow(one: Trained) -> None:
        for named in [*([one.record["start"]] if "start" in one.record else []), *one.record.get("teachers", ())]:
            if named["name"] in found:
                continue
            other = read_run(runs / named["name"])
            if other.identity != named:
                raise CheckpointError(
                    f"{runs / other.name} is not the run that {one.name} was made from", "repeat both"
                )
            follow(other)
        # What was unpacked brings its bundle's rows, its own among them.
        rows = {row["name"]: row for row in one.record.get("lineage", ())} or {one.name: summary(one)}
        for name, row in rows.items():
            found.setdefault(name, row)

    follow(run)
    return list(found.values())


def summary(run: Trained) -> dict[str, Any]:
    """A run as a row of its descendants' provenance, JSON-ready.

    Returns:
        ``name``, ``sha256``, ``kind``, ``start`` (a name, empty for none) and, of a mean of others, ``mean``; else
        ``epochs``, ``minutes``, ``processes``, ``blocks``, ``dropout``, ``teachers`` (names), ``taught`` (their share
        of the targets) and ``settings``, those that are not ``recipes/base.toml``'s.
    """
    record, shape = run.record, run.record["shape"]
    kind = "separable" if "strides" in shape else "residual"
    row: dict[str, Any] = {**run.identity, "kind": f"pre-trained {kind}" if "pretrained" in record else kind}
    row["start"] = record["start"]["name"] if "start" in record else ""
    if "mean" in record:
        return {**row, "mean": record["mean"]}
    config, standard = record["config"], json.loads(json.dumps(values_of(read_stage(BASE))))
    different = [f"{key} {value}" for key, value in config.items() if value != standard.get(key)]
    return {
        **row,
        "epochs": record["epochs"],
        "minutes": round(record["spent_s"] / 60, 1),
        "processes": record["world"],
        "blocks": shape.get("depths") or len(shape["widths"]),
        "dropout": shape["dropout"],
        "teachers": [teacher["name"] for teacher in record.get("teachers", ())],
        "taught": config["distil.teacher"] if record.get("teachers") else 0.0,
        "settings": ", ".join(different),
    }
