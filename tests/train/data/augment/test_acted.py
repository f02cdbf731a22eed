"""Calm faces that frown: which move, where to, and what is said of them then."""

from __future__ import annotations

import pytest
import torch

from engine.spec import SEVEN_CLASSES
from train.data.augment.acted import act, warped

NEUTRAL, SAD, ANGRY, HAPPY = (SEVEN_CLASSES.index(name) for name in ("neutral", "sadness", "anger", "happiness"))


def dots(*at: tuple[float, float], count: int = 1) -> torch.Tensor:
    """Crops with a bright spot at each point, of the crop's side."""
    axis = (torch.arange(56) + 0.5) / 56
    y, x = torch.meshgrid(axis, axis, indexing="ij")
    spots = [torch.exp(-((x - a) ** 2 + (y - b) ** 2) / 0.002) for a, b in at]
    return (200 * torch.stack(spots).amax(0))[None, None].repeat(count, 1, 1, 1)


def middle(crop: torch.Tensor) -> tuple[float, float]:
    """Where the light is, of the crop's side."""
    axis = (torch.arange(56) + 0.5) / 56
    light = crop / crop.sum()
    return float((light.sum(0) * axis).sum()), float((light.sum(1) * axis).sum())


def test_content_moves_as_far_as_it_is_told_and_far_away_nothing_does() -> None:
    corner, chin = (0.353, 0.768), (0.5, 0.93)
    moves = torch.zeros(1, 12, 2)
    moves[0, 0] = torch.tensor([0.0, 0.1])
    brightest = int(warped(dots(corner), moves)[0, 0].argmax())
    x, y = (brightest % 56 + 0.5) / 56, (brightest // 56 + 0.5) / 56
    assert (x, y) == pytest.approx((corner[0], corner[1] + 0.1 * 80 / 224), abs=1 / 56)
    far = warped(dots((0.8, 0.2)), moves)
    torch.testing.assert_close(far, dots((0.8, 0.2)), atol=1.0, rtol=0)
    assert middle(warped(dots(chin), torch.zeros(1, 12, 2))[0, 0]) == pytest.approx(chin, abs=0.01)


def test_calm_faces_frown_and_others_do_not() -> None:
    count = 600
    said = torch.full((count, 7), 0.02)
    said[: count // 2, NEUTRAL], said[count // 2 :, HAPPY] = 0.88, 0.88
    crops = dots((0.353, 0.768), (0.647, 0.768), (0.4, 0.27), (0.6, 0.27), count=count)
    after, told, changed = act(crops, said, 0.4, torch.Generator().manual_seed(0))
    calm, glad = slice(0, count // 2), slice(count // 2, count)
    assert told.sum(1) == pytest.approx(torch.ones(count), abs=1e-5)
    # As many of the glad ones are warped at random, and stay what they were.
    assert changed[glad].float().mean() == pytest.approx(0.4, abs=0.08)
    assert torch.equal(told[glad], said[glad])
    frowning = changed[calm] & (told[calm] != said[calm]).any(1)
    assert frowning.float().mean() == pytest.approx(0.4, abs=0.1)
    for now, share in ((SAD, 0.65), (ANGRY, 0.35)):
        more = told[calm][frowning][:, now] > said[0, now]
        assert more.float().mean() == pytest.approx(share, abs=0.12)
    assert told[calm][:, [SAD, ANGRY]].max() == pytest.approx(0.85, abs=0.05)
    untouched = ~changed
    assert torch.equal(after[untouched], crops[untouched])
    assert torch.equal(told[untouched], said[untouched])
    # Brows lie lower in a scowl than in any sad frown, mouths lower in a sad one.
    angry, sad = (changed[calm] & (told[calm, now] > 0.4) for now in (ANGRY, SAD))
    brows, mouths = after[calm, 0, :28], after[calm, 0, 34:]
    rows = torch.arange(28)[:, None]
    height = {
        name: float((brows[who] * rows).sum() / brows[who].sum()) for name, who in (("angry", angry), ("sad", sad))
    }
    low = {
        name: float((mouths[who] * rows[:22]).sum() / mouths[who].sum())
        for name, who in (("angry", angry), ("sad", sad))
    }
    assert height["angry"] > height["sad"] + 0.3
    assert low["sad"] > low["angry"] + 0.2


def test_nothing_acts_where_nothing_shall() -> None:
    said = torch.eye(7)[[NEUTRAL] * 20]
    crops = dots((0.4, 0.27), count=20)
    after, told, changed = act(crops, said, 0.0, torch.Generator().manual_seed(0))
    assert not changed.any()
    assert torch.equal(after, crops)
    assert torch.equal(told, said)
