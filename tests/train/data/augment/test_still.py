"""Batched augmentation: determinism, agreement with the daemon's crop, and harmless extremes."""

from __future__ import annotations

import numpy as np
import torch

from engine.spec import CropGeometry
from stream.window.crop import crop_face
from train.data.augment.still import AugmentConfig, augment, compress, crop_matrices, disturb, render

POINTS = np.array([[[14.8, 18.6], [32.5, 18.3], [23.7, 29.7], [16.8, 36.6], [31.1, 36.3]]], np.float32)


def _stills(count: int) -> torch.Tensor:
    noise = torch.rand(count, 12, 12, generator=torch.Generator().manual_seed(3)) * 255
    return torch.nn.functional.interpolate(noise[:, None], size=(48, 48), mode="bicubic")[:, 0].clamp(0, 255)


def test_render_is_the_daemons_crop() -> None:
    geometry = CropGeometry(size_px=56)
    still = _stills(1).round()
    ours = render(still, torch.from_numpy(crop_matrices(POINTS, geometry)), 56)[0, 0].numpy()
    image = np.repeat(still[0].numpy().astype(np.uint8)[..., None], 3, axis=2)
    theirs = crop_face(image, POINTS[0], geometry)[..., 0].astype(np.float32)
    # OpenCV rounds to grey levels and to 1/32 px.
    assert np.abs(ours - theirs).mean() < 1.0
    assert np.abs(ours - theirs).max() < 8.0


def test_matrices_speak_of_the_whole_crop_at_any_size() -> None:
    small, large = (crop_matrices(POINTS, CropGeometry(size_px=s)) for s in (48, 224))
    # The template counts pixel indices, so half a crop pixel separates the two: half a pixel of this still.
    assert np.abs(small - large).max() < 0.6


def _augmented(seed: int) -> torch.Tensor:
    stills = _stills(16)
    matrices = torch.from_numpy(crop_matrices(POINTS.repeat(16, 0), CropGeometry(size_px=48)))
    often = AugmentConfig(degrade=0.6, occlude=0.6, unaligned=0.5)
    return augment(stills, matrices, matrices[0], 48, often, torch.Generator().manual_seed(seed))


def test_equal_seeds_give_equal_crops() -> None:
    assert torch.equal(_augmented(5), _augmented(5))
    assert not torch.equal(_augmented(5), _augmented(6))


def test_crops_stay_grey_levels() -> None:
    crops = _augmented(7)
    assert crops.shape == (16, 1, 48, 48)
    assert crops.isfinite().all()
    assert crops.min() >= 0
    assert crops.max() <= 255


def test_disturbed_transforms_keep_the_face_in_sight() -> None:
    matrices = torch.from_numpy(crop_matrices(POINTS.repeat(200, 0), CropGeometry(size_px=48)))
    moved = disturb(matrices, AugmentConfig(), torch.Generator().manual_seed(0))
    centre = torch.tensor([0.5, 0.5, 1.0])
    assert ((moved @ centre) - (matrices @ centre)).norm(dim=1).max() < 16
    mirrored = (torch.det(moved[:, :, :2]) * torch.det(matrices[:, :, :2]) < 0).float().mean()
    assert 0.35 < mirrored < 0.65


def test_compression_loses_more_the_coarser_it_is() -> None:
    crops = _stills(2)[:, None]
    loss = [(compress(crops, torch.full((2,), c)) - crops).abs().mean().item() for c in (0.05, 0.5, 3.0)]
    assert loss[0] < loss[1] < loss[2]
