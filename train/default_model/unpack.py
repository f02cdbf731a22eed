"""A bundle's encoder and head as runs to go on from: where the runs that made it are gone, its weights are enough.

Its normalisations were folded into the layers before them and are unfolded (``train/training/transfer.py``); the
linear classifier, which no bundle holds, is fitted anew on the votes.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from engine.bundle import Bundle
from engine.errors import DferError
from engine.spec import CropGeometry
from train.data.augment.still import crop_matrices, render
from train.data.layouts.ferplus import Stills
from train.data.stills import without_slips
from train.default_model.head import assemble
from train.default_model.recipe import MakeSettings
from train.default_model.weights import FILE, build_encoder, read_shape
from train.models.compact.encoder import FrameClassifier, GreyEncoder
from train.training.checkpoint import save_tensors
from train.training.transfer import start_from

_MEASURED_ON = 600
"""Stills whose crops give the normalisations their statistics."""
_SLIPS, _DECAY = 1, 1e-4


def unpack(given: MakeSettings, stills: Stills, run: str) -> None:
    """Write a bundle's weights as the run of this name, and its head's as ``head``.

    Args:
        given: Names the bundle and the folder of runs.
        stills: FER+'s training stills, those to validate on included.
        run: What the encoder's run is called.

    Raises:
        DferError: Where it is no bundle of the default model.
    """
    assert given.unpack is not None
    bundle = Bundle.open(given.unpack)
    made = bundle.provenance
    if not isinstance(made.get("encoder"), dict) or "lineage" not in made:
        raise DferError(f"{bundle.path} is no bundle of the default model", "name one that default-model made")
    shape = read_shape(made["encoder"]["shape"])
    geometry = CropGeometry(size_px=shape.size_px)
    model = assemble(build_encoder(shape), shape.size_px)
    grey, matrices = torch.from_numpy(stills.grey), torch.from_numpy(crop_matrices(stills.points, geometry))
    some = torch.randperm(len(stills), generator=torch.Generator().manual_seed(0))[:_MEASURED_ON]
    crops = render(grey[some], matrices[some], shape.size_px).round().to(torch.uint8)[:, 0]
    start_from(model, bundle.path, crops[:, None, :, :, None].expand(-1, 1, -1, -1, 3))
    model.eval()
    encoder = model.encoder.get_submodule("backbone")
    assert isinstance(encoder, GreyEncoder)
    classifier = FrameClassifier(encoder, len(bundle.spec.labels))
    votes = without_slips(stills.seven, _SLIPS)
    kept = np.flatnonzero(votes.sum(1) > 0)
    with torch.inference_mode():
        parts = [render(grey[rows], matrices[rows], shape.size_px) for rows in torch.split(torch.from_numpy(kept), 256)]
        features = torch.cat([encoder.encode_grey(part) for part in parts])
    _fit(classifier.classify, features.clone(), torch.from_numpy(votes[kept] / votes[kept].sum(1, keepdims=True)))
    record = {name: made["encoder"][name] for name in ("config", "data_sha256")}
    about = {**record, "shape": dataclasses.asdict(shape), "unpacked": bundle.sha256, "lineage": made["lineage"]}
    save_tensors(given.run / run / FILE, classifier.state_dict(), about)
    head = {name: value for name, value in model.state_dict().items() if not name.startswith("encoder.")}
    save_tensors(given.run / "head" / FILE, head, {"head": made["head"]})


def _fit(layer: nn.Linear, features: Tensor, targets: Tensor) -> None:
    """The one minimum of a convex loss, found by L-BFGS."""
    optimizer = torch.optim.LBFGS(layer.parameters(), max_iter=200, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        optimizer.zero_grad()
        value = functional.cross_entropy(layer(features), targets) + _DECAY * layer.weight.square().sum()
        value.backward()  # type: ignore[no-untyped-call]
        return value

    optimizer.step(loss)  # type: ignore[no-untyped-call]
