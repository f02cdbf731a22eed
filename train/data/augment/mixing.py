"""Mixup and FMix: two clips (or crops) of a batch become one, their targets in the same proportion.

The same mask or weight serves all frames of a clip, so what moves in a clip is the face, not the mask.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from train.settings import MixSettings


def mix_clips(clips: Tensor, targets: Tensor, settings: MixSettings, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
    """Mix every clip of a batch with another one.

    Args:
        clips: ``(B, T, 3, S, S)`` floating, normalised.
        targets: ``(B, C)`` distributions.
        settings: Which mixings are on.
        rng: Where the draws come from.

    Returns:
        Mixed clips and targets, same shapes; the inputs where all mixing is off.
    """
    use_fmix = settings.fmix > 0 and (settings.mixup == 0 or rng.random() < settings.switch)
    alpha = settings.fmix if use_fmix else settings.mixup
    if alpha == 0 or len(clips) < 2:
        return clips, targets
    share = float(rng.beta(alpha, alpha))
    partner = torch.from_numpy(rng.permutation(len(clips))).to(clips.device)
    if use_fmix:
        mask = fourier_mask(clips.shape[-1], share, settings.decay, rng)
        # The target follows the area that was kept, not the share that was asked for.
        share = float(mask.mean())
        weight = torch.from_numpy(mask).to(clips.device, clips.dtype)
        mixed = clips * weight + clips[partner] * (1 - weight)
    else:
        mixed = clips * share + clips[partner] * (1 - share)
    return mixed, targets * share + targets[partner] * (1 - share)


def mix_crops(crops: Tensor, targets: Tensor, alpha: float, chance: torch.Generator) -> tuple[Tensor, Tensor]:
    """Mix every crop of a batch with the one that stands as far from the other end, all in one proportion.

    Args:
        crops: ``(B, 1, S, S)`` float.
        targets: ``(B, C)`` distributions.
        alpha: Of Mixup's Beta distribution, above 0.
        chance: Where the proportion comes from.

    Returns:
        Mixed crops and targets, same shapes.
    """
    gamma = torch._standard_gamma(torch.full((2,), alpha), generator=chance)
    share = float(gamma[0] / gamma.sum())
    return crops * share + crops.flip(0) * (1 - share), targets * share + targets.flip(0) * (1 - share)


def fourier_mask(size: int, share: float, decay: float, rng: np.random.Generator) -> np.ndarray:
    """A random binary mask of low-frequency shapes (Harris et al., arXiv:2002.12047, section 4).

    Args:
        size: Side.
        share: Part of the area that is 1, [0, 1].
        decay: Power by which amplitudes fall with frequency.
        rng: Where the spectrum comes from.

    Returns:
        ``(size, size)`` float32 of 0 and 1; the number of ones is ``round(share * size**2)``.
    """
    fy = np.fft.fftfreq(size)[:, None]
    fx = np.fft.rfftfreq(size)[None, :]
    frequency = np.maximum(np.hypot(fx, fy), 1 / size)
    spectrum = rng.standard_normal((*frequency.shape, 2)) @ np.array([1, 1j])
    image = np.fft.irfft2(spectrum / frequency**decay, s=(size, size))
    mask = np.zeros(size * size, np.float32)
    mask[np.argsort(-image, axis=None)[: round(share * size * size)]] = 1
    return mask.reshape(size, size)
