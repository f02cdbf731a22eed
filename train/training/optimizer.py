"""Parameter groups, optimizers, learning-rate schedules and the moving average of the weights."""

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
        return torch.optim.SGD(groups, lr=settings.lr, momentum=settings.momentum, nesterov=settings.nesterov)
    return torch.optim.AdamW(groups, lr=settings.lr, betas=settings.betas)


def one_cycle(share: float) -> float:
    """Factor on the learning rate, share of the run done in [0, 1]: linear over the first 5 %, then a cosine to 0."""
    if share < 0.05:
        return max(share / 0.05, 0.02)
    return 0.5 * (1 + math.cos(math.pi * min((share - 0.05) / 0.95, 1.0)))


def rate_factor(
    settings: OptimSettings, step: int, steps_per_epoch: int, epochs: int, share: float | None = None
) -> float:
    """What the learning rates are multiplied by at a step.

    Args:
        settings: The schedule.
        step: Optimizer steps done, from 0.
        steps_per_epoch: Steps per epoch.
        epochs: Epochs of the run.
        share: How much of the run is done, [0, 1]; by steps where it is not given.

    Returns:
        A factor in [0, 1]; a pure function of the step, so a resumed run needs no schedule state.
    """
    epoch = step / steps_per_epoch
    if settings.schedule == "one-cycle":
        return one_cycle(epoch / epochs if share is None else share)
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
        decay: Final decay; early on it is ``(1 + n) / (10 + n)`` after n updates, for a fresh average would remember
            the random start.
        buffers: Average the persistent buffers too (running statistics of normalisation); counters are taken over.
    """

    def __init__(self, model: nn.Module, decay: float, buffers: bool = False) -> None:
        self.decay, self.updates = decay, 0
        frozen = {n for n, p in model.named_parameters() if not p.requires_grad}
        averaged = model.state_dict() if buffers else dict(model.named_parameters())
        self.shadow = {n: value.detach().clone() for n, value in averaged.items() if n not in frozen}

    @torch.no_grad()
    def update(self, model: nn.Module) -> None:
        """Move the average towards the model's values."""
        self.updates += 1
        decay = min(self.decay, (1 + self.updates) / (10 + self.updates))
        for name, value in self._values(model):
            if value.is_floating_point():
                self.shadow[name].lerp_(value, 1 - decay)
            else:
                self.shadow[name].copy_(value)

    @torch.no_grad()
    def swap(self, model: nn.Module) -> None:
        """Exchange averages and the model's values; call it again to change back."""
        for name, value in self._values(model):
            kept = value.clone()
            value.copy_(self.shadow[name])
            self.shadow[name].copy_(kept)

    def load(self, shadow: Mapping[str, torch.Tensor], updates: int) -> None:
        """Take over a saved average."""
        for name, value in self.shadow.items():
            value.copy_(shadow[name])
        self.updates = updates

    def _values(self, model: nn.Module) -> Iterable[tuple[str, torch.Tensor]]:
        return ((name, value) for name, value in model.state_dict().items() if name in self.shadow)
