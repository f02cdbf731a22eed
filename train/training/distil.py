"""What a still teaches: its votes, and what trained models say of the very crop that the learner sees.

Teachers look at the disturbed crop, not at the still (Beyer et al., "Knowledge distillation: a good teacher is patient
and consistent", CVPR 2022); crops may be mixed, or put together from two faces, about which nobody ever voted.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from calibration.metrics import confusion_matrix
from engine.spec import SEVEN_CLASSES, CropGeometry
from train.data.augment.acted import act
from train.data.augment.faults import spoil
from train.data.augment.mixing import mix_crops
from train.data.augment.still import crop_matrices, render, swapped
from train.data.layouts.ferplus import Stills
from train.data.stills import Rows, StillBatches
from train.settings import DistilSettings
from train.training.distributed import Processes
from train.training.task import Autocast, Moment

_REMEMBERED = 100_000
"""Answered crops kept over all processes: a quarter of a gigabyte, and under a tenth of what a long run sees."""
_KNOWN_BATCHES = 32
"""Batches that must be remembered before any is shown again: a replay of few shows the same crops over and over."""


class Replay:
    """A ring of crops with their targets, drawn from at random: an answer costs a step, so it is used again.

    A crop comes back mirrored half of the times, under the answer for the crop that was asked about: over many crops
    the learner meets the mean of the answers to both sides, which has a lower loss on new faces than either.

    Args:
        capacity: Crops kept; the oldest go first.
        size_px: Side of the crops, px.
        classes: C.
        device: Where they lie.
    """

    def __init__(self, capacity: int, size_px: int, classes: int, device: torch.device | str = "cpu") -> None:
        self.crops = torch.zeros(capacity, 1, size_px, size_px, dtype=torch.uint8, device=device)
        self.targets = torch.zeros(capacity, classes, device=device)
        self.count = 0
        self._next = 0

    def add(self, crops: Tensor, targets: Tensor) -> None:
        """Keep ``(B, 1, S, S)`` float crops in [0, 255], rounded to whole levels, and their ``(B, C)`` targets."""
        capacity = len(self.crops)
        rows = (self._next + torch.arange(len(crops), device=self.crops.device)) % capacity
        self.crops[rows] = crops.round().clamp(0, 255).to(torch.uint8)
        self.targets[rows] = targets
        self._next = (self._next + len(crops)) % capacity
        self.count = min(self.count + len(crops), capacity)

    def draw(self, count: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Random crops ``(B, 1, S, S)`` float, each mirrored or not, with their targets ``(B, C)``."""
        where = generator.device
        rows = torch.randint(self.count, (count,), generator=generator, device=where).to(self.crops.device)
        mirrored = (torch.rand(count, 1, 1, 1, generator=generator, device=where) < 0.5).to(self.crops.device)
        crops = self.crops[rows].float()
        return torch.where(mirrored, crops.flip(-1), crops), self.targets[rows]


class StillLesson:
    """What a batch of stills teaches: crops and soft targets from votes and teachers, and the loss on them.

    Args:
        settings: What the targets are made of.
        batches: The stills.
        teachers: Trained models, on the stills' device, whose mean answer to every crop is part of the targets.
    """

    def __init__(self, settings: DistilSettings, batches: StillBatches, teachers: Sequence[nn.Module] = ()) -> None:
        self.settings, self.batches = settings, batches
        self.teachers = [teacher.eval() for teacher in teachers]
        self.replay: Replay | None = None
        if settings.replay > 1:
            capacity, size = _REMEMBERED // batches.world, batches.geometry.size_px
            self.replay = Replay(capacity, size, batches.targets.shape[1], batches.device)

    def __call__(self, batch: Rows, learner: nn.Module, moment: Moment) -> dict[str, Tensor]:
        """The cross-entropy as ``total``; with the distance to the teacher's features, where that has a weight."""
        if self.settings.features > 0:
            return self._near(batch, learner, moment)
        with torch.no_grad():
            crops, target = self._shown(batch, moment)
        with moment.autocast():
            logits = learner(crops)
        return {"total": functional.cross_entropy(logits.float(), target)}

    def _near(self, batch: Rows, learner: nn.Module, moment: Moment) -> dict[str, Tensor]:
        """Whatever happens to a crop, its features shall be those that the teacher had before; not where it acts."""
        settings, stills = self.settings, self.batches.settings
        with torch.no_grad():
            crops = self.batches.crops(batch.rows, moment.share, batch.own)
            with moment.autocast():
                said, known = self.teachers[0](crops, True)
            votes = self.batches.targets[batch.rows].to(crops.device)
            target = torch.lerp(votes, said.float().softmax(-1), settings.teacher)
            crops, target, changed = act(crops, target, stills.acted, batch.own)
            crops = spoil(crops, stills.faults, batch.own)
        with moment.autocast():
            logits, features = learner(crops, True)
        named = functional.cross_entropy(logits.float(), target)
        near = ((features.float() - known.float()).square().mean(1) * ~changed).mean()
        return {"total": named + settings.features * near, "named": named, "near": near}

    def _shown(self, batch: Rows, moment: Moment) -> tuple[Tensor, Tensor]:
        """Crops ``(B, 1, S, S)`` with targets ``(B, C)``, some of both remembered where answers are replayed."""
        if self.replay is None:
            return self._asked(batch, batch.rows, moment)
        local = self.batches.local
        known = self.replay.count >= _KNOWN_BATCHES * local
        rows = batch.rows[: local // self.settings.replay] if known else batch.rows
        asked = crops, target = self._asked(batch, rows, moment)
        if known:
            again = self.replay.draw(local - len(rows), batch.own)
            crops, target = torch.cat([crops, again[0]]), torch.cat([target, again[1]])
        self.replay.add(*asked)
        return crops, target

    def _asked(self, batch: Rows, rows: Tensor, moment: Moment) -> tuple[Tensor, Tensor]:
        """New crops, mixed or swapped or as they are, and what votes and teachers say of them."""
        settings, shared = self.settings, batch.shared
        target = self.batches.targets[rows].to(self.batches.device)
        crops = self.batches.crops(rows, moment.share, batch.own)
        kind = float(torch.rand((), generator=shared))
        # Votes of a mixture are a guess, which the end of a run does without; a teacher's answer to it is not.
        plain = not self.teachers and self.batches.settles(moment.share)
        taught = settings.teacher
        if settings.mixup > 0 and not plain and kind < settings.mixup_share:
            crops, target = mix_crops(crops, target, settings.mixup, shared)
        elif self.teachers and not plain and kind < settings.mixup_share + settings.swap_share:
            crops, taught = swapped(crops, shared), 1.0
        if self.teachers:
            target = torch.lerp(target, self.answers(crops, moment.autocast), taught)
        return crops, target

    @torch.no_grad()
    def answers(self, crops: Tensor, autocast: Autocast) -> Tensor:
        """Mean probabilities ``(B, C)`` of the teachers for these very crops."""
        with autocast():
            said = [teacher(crops).float().softmax(-1) for teacher in self.teachers]
        return torch.stack(said).mean(0)


def judge_stills(
    model: nn.Module, stills: Stills, geometry: CropGeometry, processes: Processes, autocast: Autocast
) -> Tensor:
    """``(C, C)`` float64 counts of a model's answers to this process's share of the stills, rows true.

    Args:
        model: In evaluation mode; it sees undisturbed aligned crops, in full precision whatever the run computes in.
        stills: Stills whose plurality is known.
        geometry: Template of the crop.
        processes: This process among all.
        autocast: Not entered.
    """
    del autocast
    mine = stills.select(np.arange(processes.rank, len(stills), processes.world))
    predicted = [np.zeros(0, np.int64)]
    for first in range(0, len(mine), 128):
        part = mine.select(np.arange(first, min(first + 128, len(mine))))
        grey, matrices = torch.from_numpy(part.grey), torch.from_numpy(crop_matrices(part.points, geometry))
        crops = render(grey.to(processes.device), matrices.to(processes.device), geometry.size_px)
        predicted.append(model(crops).argmax(-1).cpu().numpy())
    counts = confusion_matrix(mine.plurality, np.concatenate(predicted), len(SEVEN_CLASSES))
    return torch.from_numpy(counts).double()
