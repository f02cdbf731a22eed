"""Faults before the face and of the camera: what each does to a crop, and what it leaves alone."""

from __future__ import annotations

import pytest
import torch

from train.data.augment import faults
from train.data.augment.faults import KINDS, spoil


def crops(count: int = 8, size: int = 56) -> torch.Tensor:
    """Smooth grey crops that differ."""
    rough = torch.rand(count, 1, 7, 7, generator=torch.Generator().manual_seed(1)) * 160 + 40
    return torch.nn.functional.interpolate(rough, size=(size, size), mode="bicubic").clamp(0, 255)


def chance(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("kind", dict.fromkeys(KINDS), ids=lambda kind: kind.__name__)
@pytest.mark.parametrize("size", [40, 56])
def test_each_changes_crops_and_equal_seeds_give_equal_ones(kind: object, size: int) -> None:
    before = crops(size=size)
    after, again, other = (kind(before, chance(seed)) for seed in (0, 0, 1))  # type: ignore[operator]
    assert after.shape == before.shape
    assert torch.isfinite(after).all()
    assert torch.equal(after, again)
    assert not torch.equal(after, other)
    assert (after - before).abs().mean() > 0.5


def test_what_is_worn_hides_its_place_and_leaves_the_rest() -> None:
    before = crops(32)
    worn, masked = faults.glasses(before, chance()), faults.mask(before, chance())
    upper, lower = (slice(14, 26), slice(40, 50)), slice(22, 34)
    for after, hidden, seen in ((worn, upper[0], upper[1]), (masked, upper[1], upper[0])):
        moved = (after - before).abs()
        assert moved[:, :, hidden, lower].mean() > 20 * moved[:, :, seen, lower].mean()
    # A lens shows nothing of the eye behind it: all eyes look alike there.
    assert worn[:, :, 20, 18].std() < 0.6 * before[:, :, 20, 18].std() + 25


def test_only_so_many_suffer_and_all_stay_pictures() -> None:
    before = crops(400, 40)
    for share in (0.0, 0.3, 1.0):
        after = spoil(before, share, chance())
        changed = (after != before).flatten(1).any(1).float().mean().item()
        assert changed == pytest.approx(share, abs=0.08)
        assert (after.min().item() >= 0, after.max().item() <= 255) == (True, True)
        assert torch.equal(after, spoil(before, share, chance()))
