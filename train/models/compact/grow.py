"""A trained encoder grows deeper without forgetting: its blocks keep their order, added blocks start as their shortcut.

A block's second scale starts at zero and what enters it is never negative, so an added block gives its input back
unchanged: the deeper network begins as the very function that the shallower one has learnt (the idea of Net2Net,
Chen et al., ICLR 2016).
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from engine.errors import DferError

PREFIX = "encoder.blocks."


class GrowError(DferError):
    """Weights that do not fit into the encoder they are to start: the message names the block."""


def _by_block(state: Mapping[str, Tensor]) -> dict[int, dict[str, Tensor]]:
    blocks: dict[int, dict[str, Tensor]] = {}
    for name, value in state.items():
        if name.startswith(PREFIX):
            index, rest = name[len(PREFIX) :].split(".", 1)
            blocks.setdefault(int(index), {})[rest] = value
    return dict(sorted(blocks.items()))


def _shapes(block: Mapping[str, Tensor]) -> dict[str, tuple[int, ...]]:
    return {name: tuple(value.shape) for name, value in block.items()}


def grown(trained: Mapping[str, Tensor], fresh: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Weights of a deeper :class:`~train.models.compact.encoder.FrameClassifier` that computes what a trained one does.

    Args:
        trained: State of the trained classifier.
        fresh: State of a newly initialised classifier with the same widths and at least as many blocks per stage.

    Returns:
        A whole state for the deeper classifier.

    Raises:
        GrowError: Where the widths differ or the new encoder is the shallower one.
    """
    result = dict(fresh)
    for name, value in trained.items():
        if name.startswith(PREFIX):
            continue
        if name not in fresh or fresh[name].shape != value.shape:
            raise GrowError(f"{name} {tuple(value.shape)} has no counterpart: start from equal widths")
        result[name] = value
    places = iter(_by_block(fresh).items())
    for index, block in _by_block(trained).items():
        for place, candidate in places:
            if _shapes(candidate) == _shapes(block):
                result |= {f"{PREFIX}{place}.{name}": value for name, value in block.items()}
                break
        else:
            raise GrowError(f"block {index} has no counterpart: start from equal widths, not from more blocks")
    return result


def blended(shallow: Mapping[str, Tensor], deep: Mapping[str, Tensor], share: float) -> dict[str, Tensor]:
    """Weights on the way from a trained classifier to what a deeper one made of it.

    A run that starts from another's end often stays in the same valley, and between the two lie weights that answer
    better than either (Wortsman et al., "Robust fine-tuning of zero-shot models", CVPR 2022).

    Args:
        shallow: State of the classifier that ``deep`` started from.
        deep: State of the deeper classifier.
        share: 0 gives the function of ``shallow``, 1 ``deep``.

    Returns:
        A state for the deeper classifier. Blocks that ``shallow`` has not got count there as their shortcut.
    """
    bypassed = {
        name: torch.zeros_like(value) if name.startswith(PREFIX) and ".norm2." in name else value
        for name, value in deep.items()
    }
    start = grown(shallow, bypassed)
    return {
        name: torch.lerp(start[name], value, share) if value.is_floating_point() else value
        for name, value in deep.items()
    }
