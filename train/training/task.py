"""What the training loop is given: a model, batches in an order, a lesson that makes a loss of each, and a judge."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

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


class Order(Protocol):
    """In which order one process's micro-batches come."""

    @property
    def steps(self) -> int:
        """Optimizer steps per epoch."""

    @property
    def exact(self) -> bool:
        """Whether an epoch can be taken up in its middle: no chance runs through it."""

    def start(self, epoch: int, step: int) -> None:
        """Position before the given step of the given epoch."""


class Config(Protocol):
    """What a run's configuration holds whatever is trained."""

    @property
    def loop(self) -> LoopSettings:
        """How training runs."""

    @property
    def optim(self) -> OptimSettings:
        """Optimizer and schedule."""


@dataclass
class Task:
    """What is trained, on what, for what.

    Attributes:
        model: The model, on its device.
        learner: What the lesson calls with a batch; its parameters are the model's.
        labels: Its classes.
        order: Where in the data the run stands.
        batches: This process's micro-batches, from where `order` stands to the end of the epoch.
        lesson: From a micro-batch, the learner and the moment to scalar terms of the loss; ``total`` is minimised.
        judge: Validates: ``(C, C)`` float64 counts of this process's share, rows true, columns predicted. Or None.
        about: JSON-ready facts written with the weights.
        partial: Whether a step may leave trained parameters without a gradient.
    """

    model: nn.Module
    learner: nn.Module
    labels: tuple[str, ...]
    order: Order
    batches: Iterable[Any]
    lesson: Callable[[Any, nn.Module, Moment], Mapping[str, Tensor]]
    judge: Callable[[Autocast], Tensor] | None = None
    about: Mapping[str, Any] = field(default_factory=dict)
    partial: bool = True
