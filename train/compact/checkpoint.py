"""Checkpoints of the encoders: what a run wrote, of which shape it is, and weights between two runs."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from engine.spec import SEVEN_CLASSES
from train.compact.encoder import CompactEncoder, EncoderConfig, EncoderShape, FrameClassifier, GreyEncoder
from train.compact.grow import blended
from train.compact.separable import SeparableConfig, SeparableEncoder

PRETRAINED = "pre-trained"


class CheckpointError(RuntimeError):
    """A checkpoint that cannot be read: the message names the file."""


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
        raise CheckpointError(f"{checkpoint} is no checkpoint of train.compact.fit: {error}") from error
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
        share: Of the second, see :func:`~train.compact.grow.blended`.
        out: Folder that gets ``last.safetensors``; it holds averaged weights alone, nothing to resume.

    Raises:
        CheckpointError: Where one of the two is missing or broken.
        GrowError: Where the second cannot have started from the first.
    """
    files = [folder / "last.safetensors" for folder in (shallow, deep)]
    record = {**read_record(files[1]), "blend": share}
    record.setdefault("start", without_history(read_record(files[0])))
    weights = blended(read_average(files[0]), read_average(files[1]), share)
    out.mkdir(parents=True, exist_ok=True)
    temporary = out / "last.tmp"
    save_file({f"average.{k}": v.contiguous() for k, v in weights.items()}, temporary, {"record": json.dumps(record)})
    os.replace(temporary, out / "last.safetensors")


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
