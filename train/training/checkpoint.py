"""Checkpoints: one safetensors file whose header holds JSON, written to a temporary file and moved into place.

One file, so that tensors and state can never be of different moments; nothing is ever pickled.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from engine.errors import DferError
from engine.files import replace_file

FORMAT = "dferstream.checkpoint/1"
_FREE = ("data.workers", "data.root", "data.verify", "loop.save_steps", "loop.compiled")
"""Settings that may differ in a resumed run: how clips are loaded may change, what a step computes may not."""


class CheckpointError(DferError):
    """A checkpoint that cannot be used; the message names the file and the remedy."""


@dataclass
class Progress:
    """Where a run stands; with the tensors it is all that exact resumption needs.

    Attributes:
        epoch: Epoch in progress, from 0.
        step: Optimizer steps done in that epoch.
        loss_sum: Sum over its steps of the terms of the loss, by name.
        best: Best validation figure so far.
        best_epoch: Its epoch, -1 before the first.
        skipped: Steps left out by the loss scaler.
        spent_s: Time spent in training, s.
        history: One row per finished epoch.
    """

    epoch: int = 0
    step: int = 0
    loss_sum: dict[str, float] = field(default_factory=dict)
    best: float = float("-inf")
    best_epoch: int = -1
    skipped: int = 0
    spent_s: float = 0.0
    history: list[dict[str, Any]] = field(default_factory=list)


def save_tensors(path: Path, tensors: Mapping[str, Tensor], facts: Mapping[str, Any]) -> None:
    """Write tensors and JSON-ready facts as one safetensors file, atomically.

    Raises:
        DferError: If the folder cannot be written.
    """
    flat = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    # Tensors that share memory are refused by safetensors: views are copied.
    seen: set[int] = set()
    for name, tensor in flat.items():
        if tensor.numel() and tensor.untyped_storage().data_ptr() in seen:
            flat[name] = tensor.clone()
        seen.add(tensor.untyped_storage().data_ptr())
    header = {"format": FORMAT, "facts": json.dumps(facts)}
    write_safetensors(path, flat, header)


def write_safetensors(path: Path, tensors: dict[str, Tensor], about: dict[str, str] | None) -> None:
    """Write contiguous tensors that share no memory, and what is said of them, whole or not at all.

    Raises:
        DferError: If it cannot be written; what stood there before is whole.
    """

    def write(temporary: Path) -> None:
        try:
            save_file(tensors, temporary, about)
        except SafetensorError as error:  # its own error on a full disk
            raise OSError(str(error)) from error

    replace_file(path, write)


def load_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read a file of :func:`save_tensors`.

    Raises:
        CheckpointError: If it is missing, damaged or not ours.
    """
    try:
        with safe_open(str(path), framework="pt") as reader:
            header = reader.metadata() or {}
            if header.get("format") != FORMAT:
                raise CheckpointError(f"{path} is no checkpoint of this program ({FORMAT})")
            return {name: reader.get_tensor(name) for name in reader.keys()}, json.loads(header["facts"])  # noqa: SIM118
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"cannot read checkpoint {path}: {error}") from error


def optimizer_tensors(optimizer: torch.optim.Optimizer) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """An optimizer's state as named tensors and JSON-ready numbers."""
    state = optimizer.state_dict()["state"]
    tensors: dict[str, Tensor] = {}
    numbers: dict[str, Any] = {}
    for index, values in state.items():
        for key, value in values.items():
            name = f"optimizer.{index}.{key}"
            if isinstance(value, Tensor):
                tensors[name] = value
            else:
                numbers[name] = value
    return tensors, numbers


def restore_optimizer(
    optimizer: torch.optim.Optimizer, tensors: Mapping[str, Tensor], numbers: Mapping[str, Any]
) -> None:
    """Put back what :func:`optimizer_tensors` took; groups and rates stay those of the configuration."""
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    state: dict[int, dict[str, Any]] = {}
    for name, value in (*tensors.items(), *numbers.items()):
        kind, _, rest = name.partition(".")
        if kind == "optimizer":
            index, _, key = rest.partition(".")
            like = parameters[int(index)]
            if isinstance(value, Tensor) and value.shape == like.shape:
                # In the parameter's own layout: another one rounds differently, and the run would not repeat exactly.
                value = torch.empty_like(like, dtype=value.dtype).copy_(value)
            state.setdefault(int(index), {})[key] = value
    groups = optimizer.state_dict()["param_groups"]
    optimizer.load_state_dict({"state": state, "param_groups": groups})


def trained_tensors(model: nn.Module) -> dict[str, Tensor]:
    """Trained parameters and persistent buffers: what training changes."""
    frozen = {name for name, p in model.named_parameters() if not p.requires_grad}
    return {name: tensor for name, tensor in model.state_dict().items() if name not in frozen}


def frozen_tensors(model: nn.Module) -> dict[str, Tensor]:
    """Frozen parameters: written once per run."""
    frozen = {name for name, p in model.named_parameters() if not p.requires_grad}
    return {name: tensor for name, tensor in model.state_dict().items() if name in frozen}


def restore_model(model: nn.Module, tensors: Mapping[str, Tensor], where: Path, strict: bool = True) -> None:
    """Copy tensors into a model by name.

    Args:
        model: Receives them.
        tensors: By name.
        where: Their file, for messages.
        strict: Every tensor must have a place of the same shape.

    Raises:
        CheckpointError: If names or shapes do not fit; the message names the first.
    """
    own = model.state_dict()
    for name, value in tensors.items():
        if name not in own or own[name].shape != value.shape:
            if strict:
                there = "unknown to the model" if name not in own else f"{tuple(own[name].shape)} in the model"
                raise CheckpointError(f"{where}: {name} {tuple(value.shape)} is {there}: another configuration?")
            continue
        own[name].copy_(value)


def tensors_sha256(tensors: Mapping[str, Tensor]) -> str:
    """Hash of names, shapes, dtypes and values."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name].detach().cpu().contiguous()
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def check_same_run(saved: Mapping[str, Any], settings: Mapping[str, Any], bounded: bool, path: Path) -> None:
    """Refuse to resume a run with other settings.

    Args:
        saved: Settings of the checkpoint by key, as JSON gave them.
        settings: Those of now.
        bounded: Whether a step depends on how long the run is; else its epochs may change.
        path: The checkpoint, for messages.

    Raises:
        CheckpointError: Naming what it was.
    """
    free = _FREE if bounded else (*_FREE, "loop.epochs")
    now = json.loads(json.dumps(settings))
    different = [f"{key} was {saved.get(key)!r}" for key in now if saved.get(key) != now[key] and key not in free]
    if different:
        raise CheckpointError(f"{path} is of another configuration: {'; '.join(different)}")
