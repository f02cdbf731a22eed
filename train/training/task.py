"""What the training loop is given: a model, a source of batches, a lesson that makes a loss of each, and a judge."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from train.settings import LoopSettings, OptimSettings

Autocast = Callable[[], contextlib.AbstractContextManager[Any]]


@dataclass(frozen=True)
class Moment:
    """When and how a batch is learnt.

    Attributes:
        epoch: From 0.
        step: Optimizer steps done in the run.
        part: Micro-batch of the step, from 0.
        share: How much of the run was done before the step, [0, 1].
        autocast: Context in which models compute.
    """

    epoch: int
    step: int
    part: int
    share: float
    autocast: Autocast


class Source(Protocol):
    """Where one process's micro-batches come from."""

    @property
    def steps(self) -> int:
        """Optimizer steps per epoch."""

    @property
    def exact(self) -> bool:
        """Whether an epoch can be taken up in its middle: its chance does not run through it."""

    def start(self, epoch: int, step: int) -> None:
        """Position before the given step of the given epoch."""

    def __iter__(self) -> Iterator[Any]:
        """The micro-batches from there to the end of the epoch."""


class Judge(Protocol):
    """Counts right answers."""

    labels: tuple[str, ...]

    def __call__(self, device: torch.device, autocast: Autocast) -> Tensor:
        """``(C, C)`` float64 counts of this process's share, rows true, columns predicted."""


class Config(Protocol):
    """What a run's configuration holds whatever is trained."""

    @property
    def loop(self) -> LoopSettings:
        """How training runs."""

    @property
    def optim(self) -> OptimSettings:
        """Optimizer and schedule."""

    def to_dict(self) -> dict[str, Any]:
        """The whole as JSON-ready values."""


@dataclass
class Task:
    """What is trained, on what, for what.

    Attributes:
        model: The model, on its device.
        learner: What the lesson calls with a batch; its parameters are the model's.
        source: Where micro-batches come from.
        lesson: From a micro-batch, the learner and the moment to scalar terms of the loss; ``total`` is minimised.
        judge: Validates, or None.
        about: JSON-ready facts written with the weights.
        partial: Whether a step may leave trained parameters without a gradient.
    """

    model: nn.Module
    learner: nn.Module
    source: Source
    lesson: Callable[[Any, nn.Module, Moment], Mapping[str, Tensor]]
    judge: Judge | None = None
    about: Mapping[str, Any] = field(default_factory=dict)
    partial: bool = True
