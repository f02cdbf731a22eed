"""Checkpoints of the encoders: what a run wrote, of which shape it is, and weights between two runs."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from torch import Tensor

from engine.spec import SEVEN_CLASSES
from train.models.compact.encoder import CompactEncoder, EncoderConfig, EncoderShape, FrameClassifier, GreyEncoder
from train.models.compact.grow import blended
from train.models.compact.separable import SeparableConfig, SeparableEncoder
from train.training.checkpoint import CheckpointError, write_safetensors

__all__ = [
    "CheckpointError", "average_ends", "blend_runs", "build_encoder", "name_of", "read_average", "read_classifier",
    "read_record", "without_history", "write_tensors",
]  # fmt: skip

PRETRAINED = "pre-trained"


def read_record(checkpoint: Path) -> dict[str, Any]:
    """What a run wrote beside its weights: epoch, settings, shape and history.

    Args:
        checkpoint: ``last.safetensors`` of a run.

    Raises:
        CheckpointError: Where the file is missing, broken or not of such a run.
    """
    try:
        with safe_open(checkpoint, "pt") as opened:
            record: dict[str, Any] = json.loads((opened.metadata() or {})["record"])
    except (OSError, SafetensorError, KeyError, ValueError) as error:
        raise CheckpointError(f"{checkpoint} is no checkpoint of train.default_model.fit: {error}") from error
    return record


def without_history(record: dict[str, Any]) -> dict[str, Any]:
    """What a later run keeps of an earlier one's record."""
    return {k: v for k, v in record.items() if k not in ("history", "data_sha256")}


def read_average(checkpoint: Path, device: str = "cpu") -> dict[str, Tensor]:
    """The averaged weights of a run's ``last.safetensors``."""
    return {k[8:]: v for k, v in load_file(checkpoint, device).items() if k.startswith("average.")}


def blend_runs(shallow: Path, deep: Path, share: float, out: Path) -> None:
    """Write the checkpoint between two runs, the second of which started from the first.

    Args:
        shallow: Folder of the first run.
        deep: Folder of the second.
        share: Of the second, see :func:`~train.models.compact.grow.blended`.
        out: Folder that gets ``last.safetensors``; it holds averaged weights alone, nothing to resume.

    Raises:
        CheckpointError: Where one of the two is missing or broken.
        GrowError: Where the second cannot have started from the first.
    """
    files = [folder / "last.safetensors" for folder in (shallow, deep)]
    record = {**read_record(files[1]), "blend": share}
    record.setdefault("start", without_history(read_record(files[0])))
    weights = blended(read_average(files[0]), read_average(files[1]), share)
    write_tensors(out / "last.safetensors", {f"average.{k}": v for k, v in weights.items()}, record)


def average_ends(runs: Sequence[Path], shares: Sequence[float], out: Path) -> None:
    """Write the mean of the weights in which successive runs of one encoder ended.

    Args:
        runs: Folders, each of which went on from the one before it.
        shares: Of each, in the same order; they sum to 1.
        out: Folder that gets ``last.safetensors``; it holds averaged weights alone, nothing to resume.

    Raises:
        CheckpointError: Where one is missing or broken, of another shape, or did not start from the one before it.
    """
    files = [folder / "last.safetensors" for folder in runs]
    records = [read_record(file) for file in files]
    for before, record, file in zip(records, records[1:], files[1:], strict=False):
        if record.get("start", {}).get("step") != before["step"]:
            raise CheckpointError(f"{file} did not go on from the run before it: only one way's ends have a mean")
    states = [read_average(file) for file in files]
    last = states[-1]
    if any({k: v.shape for k, v in state.items()} != {k: v.shape for k, v in last.items()} for state in states):
        raise CheckpointError(f"the runs before {files[-1]} have another shape: only equal ones have a mean")
    mean = {
        name: sum((share * state[name] for share, state in zip(shares, states, strict=True)), torch.zeros_like(value))
        if value.is_floating_point()
        else value
        for name, value in last.items()
    }
    record = {**records[-1], "ends": list(shares)}
    write_tensors(out / "last.safetensors", {f"average.{k}": v for k, v in mean.items()}, record)


def write_tensors(path: Path, tensors: Mapping[str, Tensor], record: dict[str, Any] | None = None) -> None:
    """Write tensors and what is said of them as one file, so that the two can never be of different epochs.

    Raises:
        CheckpointError: If it cannot be written; what stood there before is whole.
    """
    apart = {name: tensor.contiguous().clone() for name, tensor in tensors.items()}
    about = None if record is None else {"record": json.dumps(record)}
    write_safetensors(path, apart, about)


def build_encoder(shape: EncoderShape) -> GreyEncoder:
    """A fresh encoder of this shape."""
    if isinstance(shape, SeparableConfig):
        return SeparableEncoder(shape)
    if isinstance(shape, EncoderConfig):
        return CompactEncoder(shape)
    raise TypeError(f"{type(shape).__name__} is no encoder's shape")


def read_shape(values: dict[str, Any]) -> EncoderConfig | SeparableConfig:
    """The shape that a run's record holds."""
    taken: dict[str, Any] = {name: tuple(value) if isinstance(value, list) else value for name, value in values.items()}
    return SeparableConfig(**taken) if "strides" in taken else EncoderConfig(**taken)


def read_classifier(checkpoint: Path) -> tuple[FrameClassifier, dict[str, Any]]:
    """The averaged encoder of a checkpoint with its classifier, and the record of its run.

    Raises:
        CheckpointError: Where the file is missing, broken or not of such a run.
    """
    record = read_record(checkpoint)
    model = FrameClassifier(build_encoder(read_shape(record["shape"])), len(SEVEN_CLASSES))
    model.load_state_dict(read_average(checkpoint))
    return model.eval(), record


def name_of(record: dict[str, Any]) -> str:
    """What a card calls the model of this record: its encoder, and whether its first run began with known weights."""
    first = record
    while "start" in first:
        first = first["start"]
    kind = "separable" if "strides" in record["shape"] else "residual"
    return f"a {f'{PRETRAINED} ' if 'pretrained' in first else ''}{kind} encoder"
