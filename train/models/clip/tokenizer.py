"""Texts to token ids: CLIP's tokenizer, or plain bytes for models with random weights."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from train.models.clip.size import ClipSize
from train.models.clip.weights import ClipWeightsError, find_weights


class Tokenizer(Protocol):
    """Turns texts into rows of token ids of one length: start, text, end (the largest id), padding."""

    def __call__(self, texts: Sequence[str]) -> list[list[int]]:
        """Rows of ids, one per text."""


class ClipTokens:
    """``transformers.CLIPTokenizer`` from a checkpoint folder or hub id.

    Args:
        source: The folder, file (its folder is taken) or hub id that the weights come from.
        context: Length of a row.

    Raises:
        ClipWeightsError: If no tokenizer lies there.
    """

    def __init__(self, source: str | Path, context: int = 77) -> None:
        from transformers import CLIPTokenizer

        folder = find_weights(source).parent
        has_one = (folder / "tokenizer.json").is_file() or (folder / "vocab.json").is_file()
        if not has_one:
            raise ClipWeightsError(
                f"{folder} holds no tokenizer",
                "put tokenizer.json, or vocab.json and merges.txt, of the same CLIP beside the weights",
            )
        self._tokenizer = CLIPTokenizer.from_pretrained(folder, local_files_only=True)
        self._context = context

    def __call__(self, texts: Sequence[str]) -> list[list[int]]:
        """Rows of ids, one per text."""
        rows = []
        for text in texts:
            ids = list(self._tokenizer(text)["input_ids"])
            if len(ids) > self._context:
                raise ClipWeightsError(f"text of {len(ids)} tokens, more than {self._context}: {text[:60]}...")
            # Zeros after the end, as OpenAI pads: attention is causal, and the end stays the largest id's
            # first place.
            rows.append(ids + [0] * (self._context - len(ids)))
        return rows


class ByteTokens:
    """One token per byte, as CLIP's vocabulary starts before any merge: for models with random weights.

    Args:
        size: Vocabulary and row length.
    """

    def __init__(self, size: ClipSize) -> None:
        self._start, self._end = size.vocabulary - 2, size.vocabulary - 1
        self._bytes, self._context = min(256, size.vocabulary - 2), size.context

    def __call__(self, texts: Sequence[str]) -> list[list[int]]:
        """Rows of ids, one per text; what does not fit is cut off."""
        rows = []
        for text in texts:
            body = [b % self._bytes for b in text.encode()][: self._context - 2 - 16]
            row = [self._start, *body, self._end]
            rows.append(row + [0] * (self._context - len(row)))
        return rows
