"""The text side of a model: features of each class, from a frozen text encoder or learned directly."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from train.models.clip.text import Prompts, TextTransformer
from train.models.clip.tokenizer import Tokenizer


class PromptSet(NamedTuple):
    """Texts that a model reads, one per class.

    Attributes:
        texts: One per class.
        contexts: M, learned contexts in front of each; 0 for none.
    """

    texts: list[str]
    contexts: int = 0


class LabelEmbeddings(nn.Module):
    """Label features without a text encoder: learned embeddings, one per class and name.

    Args:
        names: Names of the sets, for example ``fine`` and ``coarse``.
        classes: C.
        width: d.
    """

    def __init__(self, names: Sequence[str], classes: int, width: int) -> None:
        super().__init__()
        self.names = tuple(names)
        for name in names:
            self.register_parameter(name, nn.Parameter(torch.randn(classes, width) * width**-0.5))

    def forward(self) -> dict[str, Tensor]:
        """Label features ``(C, d)`` by name."""
        return {name: getattr(self, name) for name in self.names}


class ClipTexts(nn.Module):
    """Label features from a frozen text encoder; gradients reach learned contexts only.

    Args:
        encoder: The text transformer; frozen here.
        tokenizer: Texts to ids, from where the encoder's weights came.
        sets: Texts by name.
    """

    def __init__(self, encoder: TextTransformer, tokenizer: Tokenizer, sets: Mapping[str, PromptSet]) -> None:
        super().__init__()
        self.names = tuple(sets)
        self.encoder = encoder.requires_grad_(False)
        for name, (texts, contexts) in sets.items():
            self.add_module(name, Prompts(tokenizer(texts), encoder.size.text_width, contexts))

    def forward(self) -> dict[str, Tensor]:
        """Label features ``(C, d)`` by name, not normalised."""
        features = {}
        for name in self.names:
            prompts = self.get_submodule(name)
            if not isinstance(prompts, Prompts):
                raise TypeError(f"{name} holds no prompts")
            features[name] = prompts.encode(self.encoder)
        return features
