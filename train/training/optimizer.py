"""Parameter groups, optimizers and learning-rate schedules of the three papers."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

import torch
from torch import nn

from engine.settings import SettingsError
from train.settings import OptimSettings


def parameter_rates(names: Iterable[str], settings: OptimSettings, frozen: Iterable[str] = ()) -> dict[str, float]:
    """Learning rate of each parameter.

    A prefix stands for whole dotted parts of a name (``encoder.blocks`` matches ``encoder.blocks.0.x``, never
    ``encoder.blocksize``): matching by substring froze the wrong module in a paper's public code.

    Args:
        names: Names of the trained parameters.
        settings: `lr` and `groups`.
        frozen: Names of the others; a group may name a part that this run freezes.

    Returns:
        Name -> rate, in the names' order.

    Raises:
        SettingsError: If a group matches no parameter.
    """
    used: set[str] = set()
    rates: dict[str, float] = {}

    def group_of(name: str) -> str | None:
        parts = name.split(".")
        prefixes = (".".join(parts[:k]) for k in range(len(parts), 0, -1))
        match = next((prefix for prefix in prefixes if prefix in settings.groups), None)
        if match is not None:
            used.add(match)
        return match

    for name in frozen:
        group_of(name)
    for name in names:
        match = group_of(name)
        rates[name] = settings.lr if match is None else settings.groups[match]
    unused = sorted(set(settings.groups) - used)
    if unused:
        raise SettingsError(f"optim.groups: no parameter is named {', '.join(unused)}")
    return rates


def build_optimizer(model: nn.Module, settings: OptimSettings) -> torch.optim.Optimizer:
    """An optimizer over the trained parameters, one group per rate and decay.

    Each group carries ``base_lr``, which the schedule scales.

    Raises:
        SettingsError: If nothing is trained or a group's prefix matches nothing.
    """
    trained = {name: p for name, p in model.named_parameters() if p.requires_grad}
    if not trained:
        raise SettingsError("the model has no trained parameter: check its image_encoder option")
    rates = parameter_rates(trained, settings, (n for n, _ in model.named_parameters() if n not in trained))
    grouped: dict[tuple[float, float], list[nn.Parameter]] = {}
    for name, parameter in trained.items():
        decays = settings.decay_vectors or parameter.ndim >= 2
        key = (rates[name], settings.weight_decay if decays else 0.0)
        grouped.setdefault(key, []).append(parameter)
    groups = [
        {"params": parameters, "lr": rate, "base_lr": rate, "weight_decay": decay}
        for (rate, decay), parameters in grouped.items()
    ]
    if settings.name == "sgd":
        return torch.optim.SGD(groups, lr=settings.lr, momentum=settings.momentum)
    return torch.optim.AdamW(groups, lr=settings.lr, betas=settings.betas)


def rate_factor(settings: OptimSettings, step: int, steps_per_epoch: int, epochs: int) -> float:
    """What the learning rates are multiplied by at a step.

    Args:
        settings: The schedule.
        step: Optimizer steps done, from 0.
        steps_per_epoch: Steps per epoch.
        epochs: Epochs of the run.

    Returns:
        A factor in (0, 1]; a pure function of the step, so a resumed run needs no schedule state.
    """
    epoch = step / steps_per_epoch
    if epoch < settings.warmup_epochs:
        return (step + 1) / math.ceil(settings.warmup_epochs * steps_per_epoch + 1)
    if settings.schedule == "milestones":
        return settings.gamma ** sum(epoch >= m for m in settings.milestones)
    if settings.schedule == "cosine":
        done = (epoch - settings.warmup_epochs) / max(epochs - settings.warmup_epochs, 1e-9)
        return settings.final_ratio + (1 - settings.final_ratio) * (1 + math.cos(math.pi * min(done, 1.0))) / 2
    return 1.0


def set_rates(optimizer: torch.optim.Optimizer, factor: float) -> None:
    """Scale every group's rate from its base."""
    for group in optimizer.param_groups:
        group["lr"] = group["base_lr"] * factor


class MovingAverage:
    """Exponential moving average of the trained parameters, with the usual warm-up of its decay.

    Args:
        model: Whose parameters are averaged.
        decay: Final decay; early on it is ``(1 + n) / (10 + n)`` after n updates.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.decay, self.updates = decay, 0
        self.shadow = {n: p.detach().clone() for n, p in model.named_parameters() if p.requires_grad}

    @torch.no_grad()
    def update(self, model: nn.Module) -> None:
        """Move the average towards the model's parameters."""
        self.updates += 1
        decay = min(self.decay, (1 + self.updates) / (10 + self.updates))
        for name, parameter in model.named_parameters():
            if name in self.shadow:
                self.shadow[name].lerp_(parameter.detach(), 1 - decay)

    @torch.no_grad()
    def swap(self, model: nn.Module) -> None:
        """Exchange averages and parameters; call it again to change back."""
        for name, parameter in model.named_parameters():
            if name in self.shadow:
                kept = parameter.detach().clone()
                parameter.copy_(self.shadow[name])
                self.shadow[name].copy_(kept)

    def load(self, shadow: Mapping[str, torch.Tensor], updates: int) -> None:
        """Take over a saved average."""
        for name, value in self.shadow.items():
            value.copy_(shadow[name])
        self.updates = updates
