"""A model's answers on clips, kept as arrays: what every figure and metric is made from."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from calibration.metrics import Scores, score
from engine.errors import DferError
from engine.files import replace_file
from train.data.dataset import Batch, ClipDataset
from train.data.loading import evaluation_loader
from train.models.window import ExpressionModel, WindowOutput

Floats = NDArray[np.float32]

BatchChange = Callable[[Batch, torch.Tensor], torch.Tensor]
"""Changes a batch's crops ``(B, T, S, S, 3)`` before the model sees them, given the first answer's relevance."""


@dataclass(frozen=True)
class Predictions:
    """Answers on n clips.

    Attributes:
        labels: C class names.
        names: n clip names.
        groups: n group names, ``""`` unknown.
        target: ``(n,)`` int64 class numbers.
        logits: ``(n, C)`` float32.
        relevance: ``(n, T)`` float32, raw.
        instance: ``(n, T, C)`` float32 logits per sample, or ``(n, 0, C)`` where the model has none.
        truth: ``(n, T)`` float32: 1 shows the expression, 0 does not, -1 unknown.
        features: ``(n, F)`` float32, the last layer before the logits where the model offers it, else the mean unit
            feature; for t-SNE.
    """

    labels: tuple[str, ...]
    names: tuple[str, ...]
    groups: tuple[str, ...]
    target: NDArray[np.int64]
    logits: Floats
    relevance: Floats
    instance: Floats
    truth: Floats
    features: Floats

    @property
    def predicted(self) -> NDArray[np.int64]:
        """``(n,)`` class numbers of the largest logits."""
        return np.asarray(self.logits.argmax(axis=1), np.int64)

    def scores(self) -> Scores:
        """WAR, UAR and the rest."""
        return score(self.target, self.predicted, self.labels)

    def save(self, path: Path) -> None:
        """Write everything as one ``.npz``, nothing pickled."""
        values = {f.name: np.asarray(getattr(self, f.name)) for f in fields(self)}
        replace_file(path, lambda temporary: np.savez_compressed(temporary, **values))  # type: ignore[arg-type]

    @classmethod
    def load(cls, path: Path) -> Predictions:
        """Read what :meth:`save` wrote.

        Raises:
            DferError: If it is missing or no such file.
        """
        try:
            with np.load(path, allow_pickle=False) as stored:
                values: dict[str, Any] = {f.name: stored[f.name] for f in fields(cls)}
        except (OSError, KeyError, ValueError) as error:
            raise DferError(f"cannot read predictions {path}: {error}") from error
        words = {name: tuple(str(v) for v in values[name]) for name in ("labels", "names", "groups")}
        return cls(**{**values, **words})


@torch.no_grad()
def predict(
    model: ExpressionModel,
    dataset: ClipDataset,
    device: torch.device,
    batch: int = 16,
    workers: int = 0,
    change: BatchChange | None = None,
    advance: Callable[[int], None] | None = None,
) -> Predictions:
    """Run a model over a data set.

    Args:
        model: In any mode; it is put into evaluation mode.
        dataset: The clips, without augmentation.
        device: Where to compute.
        batch: Clips at once.
        workers: Loader processes.
        change: Makes other crops of a batch's, for audits; then the model runs twice.
        advance: Called with the number of clips of each batch.
    """
    model = model.to(device).eval()
    spec = model.spec()
    rows: list[dict[str, torch.Tensor]] = []
    for clips in evaluation_loader(dataset, batch, workers, device.type == "cuda"):
        clips = clips.to(device)
        features, output = _run(model, clips.inputs)
        if change is not None:
            features, output = _run(model, change(clips, output.relevance))
        count = len(clips.target)
        rows.append(
            {
                "target": clips.target,
                "logits": output.logits.float(),
                "relevance": output.relevance.float(),
                "instance": output.extras.get("instance_logits", torch.zeros(count, 0, len(spec.labels))).float(),
                "truth": clips.truth,
                "features": output.extras.get("video", features.mean(dim=1)).reshape(count, -1).float(),
            }
        )
        if advance is not None:
            advance(count)
    columns = {name: torch.cat([row[name].cpu() for row in rows]).numpy() for name in rows[0]}
    known = dataset.source.clips
    names, groups = tuple(clip.name for clip in known), tuple(clip.group for clip in known)
    return Predictions(spec.labels, names, groups, **columns)


def _run(model: ExpressionModel, crops: torch.Tensor) -> tuple[torch.Tensor, WindowOutput]:
    """Unit features ``(B, W, F)`` and the head's answer."""
    spec = model.spec()
    units = model.encode_units(crops.reshape(-1, spec.unit, *crops.shape[2:]))
    features = units.reshape(len(crops), spec.window, -1)
    return features, model.head(features)


def repeat_peak(clips: Batch, relevance: torch.Tensor) -> torch.Tensor:
    """Every sample is the one of highest relevance: no movement is left."""
    peak = relevance.argmax(dim=1)
    own = clips.inputs[torch.arange(len(peak), device=peak.device), peak]
    return own[:, None].expand_as(clips.inputs).contiguous()


def reverse(clips: Batch, _relevance: torch.Tensor) -> torch.Tensor:
    """Time runs backwards."""
    return clips.inputs.flip(1)


class Shuffle:
    """Samples in random order, another for each clip, the same in each run.

    Args:
        seed: Of the orders.
    """

    def __init__(self, seed: int = 0) -> None:
        self._seed = seed

    def __call__(self, clips: Batch, relevance: torch.Tensor) -> torch.Tensor:
        """Shuffle each clip's samples."""
        rows = []
        for crops, index in zip(clips.inputs, clips.index.tolist(), strict=True):
            rng = np.random.default_rng([self._seed, 3, index])
            rows.append(crops[torch.from_numpy(rng.permutation(len(crops))).to(crops.device)])
        return torch.stack(rows)
