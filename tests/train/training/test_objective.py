"""Loss terms against closed forms, mixing, schedules, groups, and the moving average."""

import math
from typing import Literal

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional

from engine.settings import SettingsError
from train.data.augment.mixing import fourier_mask, mix_clips
from train.models.window import WindowOutput
from train.settings import MixSettings, ObjectiveSettings, OptimSettings
from train.training.objective import Objective, frame_loss, soft_targets
from train.training.optimizer import MovingAverage, build_optimizer, one_cycle, parameter_rates, rate_factor


def answer(logits: torch.Tensor, **extras: torch.Tensor) -> WindowOutput:
    return WindowOutput(logits, torch.zeros(len(logits), 4), None, extras)


def test_plain_and_smoothed_loss_equal_torch() -> None:
    logits, target = torch.randn(6, 7), torch.randint(0, 7, (6,))
    for smoothing in (0.0, 0.1):
        terms = Objective(ObjectiveSettings(), np.ones(7))(answer(logits), soft_targets(target, 7, smoothing))
        expected = functional.cross_entropy(logits, target, label_smoothing=smoothing)
        torch.testing.assert_close(terms["total"], expected)


def test_logit_adjustment_adds_the_log_prior() -> None:
    counts = np.array([90, 9, 1])
    logits, target = torch.randn(5, 3), torch.randint(0, 3, (5,))
    terms = Objective(ObjectiveSettings(logit_adjustment=1.0), counts)(answer(logits), soft_targets(target, 3, 0))
    expected = functional.cross_entropy(logits + torch.tensor(np.log(counts / 100)).float(), target)
    torch.testing.assert_close(terms["total"], expected)


@pytest.mark.parametrize("direction", ["global-local", "local-global"])
def test_dk_clips_terms_and_their_end(direction: Literal["global-local", "local-global"]) -> None:
    logits, local = torch.randn(4, 5, requires_grad=True), torch.randn(4, 5).log_softmax(-1).requires_grad_()
    target = torch.randint(0, 5, (4,))
    settings = ObjectiveSettings(local_weight=2.0, local_until_epoch=14, kl_direction=direction)
    objective = Objective(settings, np.ones(5))
    terms = objective(answer(logits, local_log_probs=local), soft_targets(target, 5, 0), epoch=13)
    glob = logits.log_softmax(-1)
    first, second = (glob, local) if direction == "global-local" else (local, glob)
    divergence = functional.kl_div(second, first, log_target=True, reduction="batchmean")
    expected = functional.cross_entropy(logits, target) + 2 * (functional.nll_loss(local, target) + divergence)
    torch.testing.assert_close(terms["total"], expected)
    terms["consistency"].backward()  # type: ignore[no-untyped-call]
    assert logits.grad is not None
    assert logits.grad.abs().sum() > 0
    assert local.grad is not None
    assert local.grad.abs().sum() > 0
    assert "local" not in objective(answer(logits, local_log_probs=local), soft_targets(target, 5, 0), epoch=14)


def test_frame_loss_prefers_true_frames_and_leaves_unknown_ones_out() -> None:
    target = soft_targets(torch.tensor([1]), 3, 0)
    truth = torch.tensor([[1.0, 0.0, -1.0, 0.0]])
    right, wrong = torch.zeros(1, 4, 3), torch.zeros(1, 4, 3)
    right[0, 0, 1], wrong[0, 1, 1] = 8.0, 8.0
    assert frame_loss(right, target, truth) < frame_loss(wrong, target, truth)
    assert frame_loss(right, target, torch.full((1, 4), -1.0)) == 0


@given(share=st.floats(0, 1), size=st.sampled_from([16, 33]), seed=st.integers(0, 50))
def test_fmix_masks_have_the_asked_area_and_are_binary(share: float, size: int, seed: int) -> None:
    mask = fourier_mask(size, share, 3.0, np.random.default_rng(seed))
    assert mask.shape == (size, size)
    assert set(np.unique(mask)) <= {0.0, 1.0}
    assert mask.sum() == round(share * size * size)


@pytest.mark.parametrize("settings", [MixSettings(mixup=0.8), MixSettings(fmix=1.0), MixSettings(0.8, 1.0)])
def test_mixed_targets_follow_the_mixed_pixels(settings: MixSettings) -> None:
    # Each clip is filled with its own number, so the mean of a mixed clip tells the shares.
    clips = torch.arange(6.0).reshape(6, 1, 1, 1, 1).expand(6, 4, 3, 16, 16)
    targets = torch.eye(6)
    for seed in range(5):
        mixed, shares = mix_clips(clips, targets, settings, np.random.default_rng(seed))
        torch.testing.assert_close(mixed.mean(dim=(1, 2, 3, 4)), shares @ torch.arange(6.0))
        torch.testing.assert_close(shares.sum(dim=1), torch.ones(6))
        # The same mask in every frame.
        assert (mixed == mixed[:, :1]).all()
    same, _ = mix_clips(clips, targets, MixSettings(), np.random.default_rng(0))
    assert same is clips


def test_schedules_of_the_papers() -> None:
    steps = OptimSettings(schedule="milestones", milestones=(30, 40), gamma=0.1)
    assert [rate_factor(steps, e * 10, 10, 50) for e in (0, 29, 30, 40)] == pytest.approx([1, 1, 0.1, 0.01])
    cosine = OptimSettings(schedule="cosine", warmup_epochs=5.0, final_ratio=0.01)
    factors = [rate_factor(cosine, s, 10, 50) for s in range(500)]
    assert factors[0] == pytest.approx(1 / 51)
    assert factors[50] == pytest.approx(1.0)
    assert factors[:50] == sorted(factors[:50])
    assert factors[50:] == sorted(factors[50:], reverse=True)
    assert rate_factor(cosine, 500, 10, 50) == pytest.approx(0.01)
    middle = 0.01 + 0.99 * (1 + math.cos(math.pi / 2)) / 2
    assert rate_factor(cosine, 275, 10, 50) == pytest.approx(middle)


def test_group_rates_go_by_whole_parts_of_names() -> None:
    names = ["encoder.block.w", "encoder.blocksize.w", "text.context", "head.w"]
    settings = OptimSettings(lr=1.0, groups={"encoder": 0.1, "encoder.block": 0.01, "text": 0.5})
    assert parameter_rates(names, settings) == {
        "encoder.block.w": 0.01, "encoder.blocksize.w": 0.1, "text.context": 0.5, "head.w": 1.0,
    }  # fmt: skip
    with pytest.raises(SettingsError, match="enc"):
        parameter_rates(names, OptimSettings(groups={"enc": 0.1}))
    # A group may name a part that this run freezes.
    assert parameter_rates(["head.w"], OptimSettings(lr=1.0, groups={"encoder": 0.1}), ["encoder.w"]) == {"head.w": 1.0}


def test_vectors_do_not_decay_unless_asked() -> None:
    model = nn.Linear(3, 2)
    for asked, expected in ((False, {0.0, 0.1}), (True, {0.1})):
        groups = build_optimizer(model, OptimSettings(weight_decay=0.1, decay_vectors=asked)).param_groups
        assert {g["weight_decay"] for g in groups} == expected
    model.requires_grad_(False)
    with pytest.raises(SettingsError, match="no trained parameter"):
        build_optimizer(model, OptimSettings())


def test_moving_average_warms_up_and_swaps_back() -> None:
    model = nn.Linear(1, 1, bias=False)
    with torch.no_grad():
        model.weight.fill_(0.0)
    average = MovingAverage(model, 0.5)
    with torch.no_grad():
        model.weight.fill_(1.0)
    average.update(model)
    assert average.shadow["weight"].item() == pytest.approx(1 - 2 / 11)
    average.swap(model)
    assert model.weight.item() == pytest.approx(1 - 2 / 11)
    average.swap(model)
    assert model.weight.item() == 1.0


def test_one_cycle_warms_up_and_ends_at_zero() -> None:
    rates = [one_cycle(share) for share in np.linspace(0, 1, 101)]
    assert int(np.argmax(rates)) == 5
    assert rates[0] < 0.05
    assert rates[-1] == pytest.approx(0, abs=1e-9)
    # By steps unless a share is given, as it is where minutes bound the run.
    settings = OptimSettings(schedule="one-cycle")
    assert rate_factor(settings, 50, 20, 5) == one_cycle(0.5)
    assert rate_factor(settings, 50, 20, 5, 0.9) == one_cycle(0.9)
