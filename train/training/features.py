"""With a frozen encoder, features are computed once and the head trains from them: minutes instead of hours.

The cache is one `.npy` file per data set part, mapped into memory, beside a JSON that says what it was made from; with
any other encoder, clips or augmentation it is made anew.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch.utils.data import Dataset

from engine.files import write_text
from engine.settings import SettingsError
from train.data.dataset import ClipDataset, Sample, pack, unpack
from train.data.loading import evaluation_loader
from train.models.window import ExpressionModel
from train.training.checkpoint import tensors_sha256
from train.training.objective import normalise


def encoder_tensors(model: ExpressionModel) -> dict[str, torch.Tensor]:
    """Parameters that unit features depend on, by full name: those that get a gradient from the features.

    Raises:
        SettingsError: If one of them is trained, so that its features would not stay what they are.
    """
    spec = model.spec()
    shape = (1, spec.unit, 3, spec.crop.size_px, spec.crop.size_px)
    named = dict(model.named_parameters())
    kept = {name: p.requires_grad for name, p in named.items()}
    try:
        for parameter in named.values():
            parameter.requires_grad_(True)
        device = next(iter(named.values())).device
        with torch.enable_grad():
            out = model.encode_units(torch.zeros(shape, device=device))
            grads = torch.autograd.grad(out.sum(), list(named.values()), allow_unused=True)
    finally:
        for name, parameter in named.items():
            parameter.requires_grad_(kept[name])
    used = {name: p for (name, p), grad in zip(named.items(), grads, strict=True) if grad is not None}
    trained = sorted(name for name in used if kept[name])
    if trained:
        raise SettingsError(
            f"loop.cache_features needs a frozen encoder, but {trained[0]} and {len(trained) - 1} others of its "
            "parameters are trained: set model.options.image_encoder = frozen"
        )
    return dict(used)


class FeatureDataset(Dataset[Sample]):
    """Cached features as samples; in epoch e a clip shows view ``e mod views``.

    Args:
        features: ``(n, views, W, F)`` float32, possibly mapped from a file.
        truth: ``(n, views, T)`` float32.
        targets: ``(n,)`` int64.
    """

    def __init__(self, features: np.ndarray, truth: np.ndarray, targets: np.ndarray) -> None:
        self.features, self.truth, self.targets = features, truth, targets

    def __len__(self) -> int:
        return len(self.features)

    def __getitem__(self, packed: int) -> Sample:
        epoch, index = unpack(packed)
        view = epoch % self.features.shape[1]
        return Sample(
            torch.from_numpy(np.array(self.features[index, view])),
            int(self.targets[index]),
            index,
            torch.from_numpy(np.array(self.truth[index, view])),
        )


def cache_features(
    model: ExpressionModel,
    dataset: ClipDataset,
    views: int,
    folder: Path,
    name: str,
    device: torch.device,
    batch: int = 16,
    workers: int = 0,
    advance: Callable[[int, int], None] | None = None,
) -> FeatureDataset:
    """Compute the features of every clip, or take them from the cache.

    Args:
        model: Its encoder must be frozen.
        dataset: The clips; view v is what epoch v of training would show.
        views: Views per clip.
        folder: Where caches lie.
        name: Of this part, for example ``train``.
        device: Where the encoder runs.
        batch: Clips at once.
        workers: Loader processes.
        advance: Called with (done, all) windows.

    Returns:
        The features as a data set.

    Raises:
        SettingsError: If the encoder is trained.
    """
    model = model.to(device).eval()
    spec = model.spec()
    source = dataset.source
    content = {
        "encoder": tensors_sha256(encoder_tensors(model)),
        "clips": hashlib.sha256("\n".join(clip.name for clip in source.clips).encode()).hexdigest(),
        "frames": [clip.frames for clip in source.clips],
        "augment": repr(dataset.augment),
        "sampling": [dataset.prefix, dataset.padding, dataset.seed, views],
        "spec": spec.to_dict(),
    }
    key = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
    note, store = folder / f"{name}.json", folder / f"{name}.npy"
    truth_store = folder / f"{name}-truth.npy"
    if not (note.is_file() and json.loads(note.read_text("utf-8")).get("key") == key):
        folder.mkdir(parents=True, exist_ok=True)
        note.unlink(missing_ok=True)
        temporary = folder / f".{name}.partial.npy"
        shape = (len(dataset), views, spec.window, spec.feature)
        out = np.lib.format.open_memmap(temporary, "w+", np.float32, shape)
        truth = np.zeros((len(dataset), views, spec.samples), np.float32)
        for view in range(views):
            loader = evaluation_loader(_View(dataset, view), batch, workers)
            for clips in loader:
                with torch.no_grad():
                    units = normalise(clips.inputs.to(device), model)
                    features = model.encode_units(units.reshape(-1, spec.unit, *units.shape[2:]))
                out[clips.index.numpy(), view] = features.float().cpu().numpy().reshape(-1, *shape[2:])
                truth[clips.index.numpy(), view] = clips.truth.numpy()
                if advance is not None:
                    advance(view * len(dataset) + int(clips.index[-1]) + 1, views * len(dataset))
        out.flush()
        del out
        temporary.replace(store)
        np.save(truth_store, truth, allow_pickle=False)
        write_text(note, json.dumps({"key": key, "shape": shape, "dtype": "float32"}))
    features = np.load(store, mmap_mode="r", allow_pickle=False)
    return FeatureDataset(features, np.load(truth_store, allow_pickle=False), dataset.targets)


class _View(Dataset[Sample]):
    def __init__(self, dataset: ClipDataset, view: int) -> None:
        self.dataset, self.view = dataset, view

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> Sample:
        return self.dataset[pack(self.view, index)]
