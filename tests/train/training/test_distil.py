"""What a batch of stills teaches: votes, teachers' answers to the very crops, and answers that are used again."""

from __future__ import annotations

import contextlib

import pytest
import torch
from torch import nn
from torch.nn import functional

from engine.spec import CropGeometry
from tests.train.drawn_stills import TINY, drawn_stills
from train.data.augment.still import swapped
from train.data.layouts.ferplus import Stills
from train.data.stills import Rows, StillBatches
from train.models.compact.encoder import CompactEncoder, FrameClassifier
from train.settings import DistilSettings, StillSettings
from train.training.distil import Replay, StillLesson, judge_stills
from train.training.distributed import Processes
from train.training.task import Moment

CPU = torch.device("cpu")


class Told(nn.Module):
    """A teacher that keeps what it was asked."""

    def __init__(self, label: int) -> None:
        super().__init__()
        self.label = label
        self.asked: list[torch.Tensor] = []

    def forward(self, crops: torch.Tensor) -> torch.Tensor:
        self.asked.append(crops.clone())
        return torch.eye(7)[self.label].repeat(len(crops), 1) * 50


def _lesson(settings: DistilSettings, *teachers: nn.Module, stills: int = 16) -> StillLesson:
    shown = StillSettings(sizes=(40,))
    batches = StillBatches(drawn_stills(stills), shown, CropGeometry(size_px=40), 1, 8, CPU)
    return StillLesson(settings, batches, teachers)


def _model() -> FrameClassifier:
    torch.manual_seed(0)
    return FrameClassifier(CompactEncoder(TINY), 7)


def _moment(step: int = 0) -> Moment:
    return Moment(0, step, 0, 0.0, contextlib.nullcontext)


def _batch(lesson: StillLesson) -> Rows:
    return next(iter(lesson.batches))


def test_an_answer_is_the_mean_of_the_teachers_probabilities() -> None:
    teachers = [Told(1), _model().eval()]
    lesson = _lesson(DistilSettings(), *teachers)
    crops = torch.rand(5, 1, 40, 40) * 255
    with torch.no_grad():
        wanted = sum(model(crops).softmax(-1) for model in teachers) / 2
    torch.testing.assert_close(lesson.answers(crops, contextlib.nullcontext), wanted)


@pytest.mark.parametrize("swap", [0.0, 1.0], ids=["as they are", "swapped"])
def test_teachers_and_the_learner_look_at_the_same_crops(monkeypatch: pytest.MonkeyPatch, swap: float) -> None:
    teacher, learner = Told(3), Told(0)
    lesson = _lesson(DistilSettings(teacher=0.25, mixup=0.0, mixup_share=0.0, swap_share=swap), teacher)
    targets: list[torch.Tensor] = []
    loss = functional.cross_entropy

    def spied(logits: torch.Tensor, wanted: torch.Tensor) -> torch.Tensor:
        targets.append(wanted)
        return loss(logits, wanted)

    monkeypatch.setattr(functional, "cross_entropy", spied)
    for batch in lesson.batches:
        lesson(batch, learner, _moment())
    assert len(teacher.asked) == len(learner.asked) == 2
    for asked, seen in zip(teacher.asked, learner.asked, strict=True):
        torch.testing.assert_close(asked, seen)
    # Votes say nothing of a face put together from two: there the teachers' word is all there is.
    least = 1.0 if swap else 0.25
    assert all(wanted[:, 3].min() >= least - 1e-5 for wanted in targets)
    assert all(torch.allclose(wanted.sum(1), torch.ones(len(wanted))) for wanted in targets)
    assert swap or min(wanted[:, 3].min() for wanted in targets) < 0.3


def test_teachers_stay_as_they_are() -> None:
    teacher = _model().train()
    lesson = _lesson(DistilSettings(swap_share=0.5), teacher)
    before = {name: value.clone() for name, value in teacher.state_dict().items()}
    learner = _model()
    lesson(_batch(lesson), learner, _moment())["total"].backward()  # type: ignore[no-untyped-call]
    assert all(torch.equal(before[name], value) for name, value in teacher.state_dict().items())
    assert not teacher.training
    assert all(parameter.grad is None for parameter in teacher.parameters())
    assert any(parameter.grad is not None for parameter in learner.parameters())


def test_the_end_of_a_run_without_teachers_mixes_nothing() -> None:
    learner = Told(0)
    lesson = _lesson(DistilSettings(mixup=1.0, mixup_share=1.0))
    batch = _batch(lesson)
    states = batch.shared.get_state(), batch.own.get_state()
    calm = Moment(0, 0, 0, 1.0, contextlib.nullcontext)
    lesson(batch, learner, calm)
    batch.shared.set_state(states[0])
    batch.own.set_state(states[1])
    assert torch.equal(learner.asked[0], lesson.batches.crops(batch.rows, 1.0, batch.own))
    lesson(_batch(lesson), learner, _moment())
    batch.own.set_state(states[1])
    assert not torch.equal(learner.asked[1], lesson.batches.crops(batch.rows, 0.0, batch.own))


def test_swapped_crops_are_one_above_and_the_other_below() -> None:
    crops = torch.stack([torch.zeros(1, 40, 40), torch.full((1, 40, 40), 100.0)])
    mixed = swapped(crops, torch.Generator().manual_seed(0))
    torch.testing.assert_close(mixed[:, :, :6], crops[:, :, :6], atol=0.5, rtol=0)
    torch.testing.assert_close(mixed[:, :, -3:], crops.flip(0)[:, :, -3:], atol=0.5, rtol=0)


def _striped(values: list[int]) -> torch.Tensor:
    """Crops whose left half is black and whose right half has these levels."""
    crops = torch.zeros(len(values), 1, 40, 40)
    crops[..., 20:] = torch.tensor(values, dtype=torch.float32)[:, None, None, None]
    return crops


def test_remembered_crops_come_back_with_their_own_targets() -> None:
    replay = Replay(8, 40, 7)
    replay.add(_striped([10, 20, 30]), torch.eye(7)[:3])
    assert replay.count == 3
    crops, targets = replay.draw(200, torch.Generator().manual_seed(0))
    levels = crops.amax((1, 2, 3)).long()
    assert torch.equal(targets.argmax(1), levels // 10 - 1)
    assert set(levels.tolist()) == {10, 20, 30}
    # Either side may be the bright one: half of them come back mirrored.
    assert 60 < int((crops[:, 0, 0, 0] > 0).sum()) < 140


def test_the_oldest_crops_are_forgotten_first() -> None:
    replay = Replay(4, 40, 7)
    for value in (1, 2, 3):
        replay.add(_striped([value * 10, value * 10]), torch.eye(7)[[value, value]])
    assert replay.count == 4
    crops, _ = replay.draw(100, torch.Generator().manual_seed(0))
    assert set(crops.amax((1, 2, 3)).long().tolist()) == {20, 30}


def test_an_answer_serves_as_often_as_asked_once_enough_is_remembered() -> None:
    teacher, learner = Told(3), Told(0)
    lesson = _lesson(DistilSettings(replay=4, teacher=1.0), teacher, stills=40 * 8)
    for batch in lesson.batches:
        lesson(batch, learner, _moment())
    assert [len(crops) for crops in learner.asked] == [8] * 40
    assert [len(crops) for crops in teacher.asked] == [8] * 32 + [2] * 8


def test_processes_judge_every_still_once() -> None:
    stills = drawn_stills(40)
    stills = stills.select(stills.usable)
    model, geometry = _model().eval(), CropGeometry(size_px=40)

    def judged(some: Stills, rank: int, world: int) -> torch.Tensor:
        with torch.no_grad():
            return judge_stills(model, some, geometry, Processes(rank, world, CPU), contextlib.nullcontext)

    whole = judged(stills, 0, 1)
    assert whole.sum() == len(stills) > 3
    assert torch.equal(torch.stack([judged(stills, rank, 3) for rank in range(3)]).sum(0), whole)
    assert judged(stills.select(stills.votes[:, 0] < 0), 0, 1).sum() == 0


def test_near_a_teacher_is_told_of_the_crop_before_the_fault_and_its_features_are_the_aim(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    teacher, learner = _model().eval(), _model().eval()
    seen: dict[str, torch.Tensor] = {}

    def fault(crops: torch.Tensor, share: float, _: torch.Generator) -> torch.Tensor:
        assert share == 0.5
        seen["before"] = crops.clone()
        return crops * 0.0 + 128

    monkeypatch.setattr("train.training.distil.spoil", fault)
    shown = StillSettings(sizes=(40,), faults=0.5)
    batches = StillBatches(drawn_stills(16), shown, CropGeometry(size_px=40), 1, 8, CPU)
    lesson = StillLesson(DistilSettings(features=2.0, teacher=1.0), batches, [teacher])
    terms = lesson(_batch(lesson), learner, _moment())
    with torch.no_grad():
        said, known = teacher(seen["before"], True)
        answered, features = learner(seen["before"] * 0.0 + 128, True)
    named = functional.cross_entropy(answered, said.softmax(-1))
    near = (features - known).square().mean()
    assert terms["named"].item() == pytest.approx(named.item(), rel=1e-4)
    assert terms["near"].item() == pytest.approx(near.item(), rel=1e-4)
    assert terms["total"].item() == pytest.approx((named + 2 * near).item(), rel=1e-4)
    # Without a fault nothing is to be learnt of features that are the teacher's own.
    monkeypatch.setattr("train.training.distil.spoil", lambda crops, *_: crops)
    assert lesson(_batch(lesson), learner, _moment())["near"].item() == pytest.approx(0, abs=1e-6)
