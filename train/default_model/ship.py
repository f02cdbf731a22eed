"""The trained encoder and head as a bundle: golden vectors from the project's own demo clip, provenance and card."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from engine.bundle.bundle import Bundle, write_bundle
from engine.errors import DferError
from engine.export.export import export_bundle
from engine.spec import CropGeometry
from stream.faces.tracking.tracker import FaceTracker
from stream.window.crop import crop_face
from train.default_model.head import assemble
from train.models.compact.encoder import FrameClassifier
from train.models.tg_dfer import TgDfer
from train.training.checkpoint import load_tensors
from train.training.transfer import model_settings

DEMO_CLIP = Path(__file__).parents[2] / "stream" / "demo" / "clip.mp4"
BUNDLE_LIMIT = 15_000_000


class ShipError(DferError):
    """A bundle that may not be shipped: the message says why."""


def read_model(
    classifier: FrameClassifier, head: Path, class_bias: tuple[float, ...] = ()
) -> tuple[TgDfer, dict[str, Any]]:
    """The whole model from the trained encoder and the head's weights, and how that was trained.

    Args:
        classifier: The encoder with its classifier.
        head: Weights that :func:`~train.default_model.head_training.train_head` left.
        class_bias: Adjusts the logits.

    Raises:
        DferError: Where the head's weights are missing or of another head.
    """
    model = assemble(classifier.encoder, classifier.encoder.config.size_px, class_bias=class_bias)
    tensors, facts = load_tensors(head)
    missing, unexpected = model.load_state_dict(tensors, strict=False)
    wrong = [name for name in missing if not name.startswith("encoder.")] + unexpected
    if wrong:
        raise ShipError(f"{head} is not of this head: {', '.join(wrong)}", "train the head again")
    return model.eval(), facts["head"]


def demo_crops(geometry: CropGeometry, count: int, clip: Path = DEMO_CLIP) -> NDArray[np.uint8]:
    """Aligned crops of the demo clip by the daemon's own tracker, evenly spread.

    Args:
        geometry: The bundle's crop.
        count: How many crops.
        clip: A video with one face.

    Returns:
        ``(count, 1, S, S, 3)`` uint8 RGB.

    Raises:
        ShipError: Where the clip has too few frames with a face.
    """
    video, tracker, crops = cv2.VideoCapture(str(clip)), FaceTracker(), []
    rate = video.get(cv2.CAP_PROP_FPS) or 30.0
    index = 0
    while True:
        read, frame = video.read()
        if not read:
            break
        image = np.asarray(cv2.cvtColor(frame, cv2.COLOR_BGR2RGB), np.uint8)
        faces = tracker.step(image, int(index / rate * 1e9)).faces
        if faces and faces[0].points5 is not None:
            crops.append(crop_face(image, faces[0].points5, geometry))
        index += 1
    video.release()
    if len(crops) < count:
        raise ShipError(f"{clip} shows a face in {len(crops)} frames, {count} are needed", "make the demo clip again")
    chosen = np.linspace(0, len(crops) - 1, count).round().astype(int)
    return np.stack([crops[i] for i in chosen])[:, None]


def ship(model: TgDfer, out: Path, provenance: dict[str, Any]) -> Bundle:
    """Export the model as a bundle, not measured yet.

    Raises:
        ShipError: Where the bundle is larger than 15 MB.
    """
    spec = model.spec()
    bundle = export_bundle(
        model.runtime_encoder(), model.runtime_head(), spec, out, golden_crops=demo_crops(spec.crop, 64),
        provenance={"model": model_settings(model, "compact"), **provenance}, metrics={},
    )  # fmt: skip
    size = sum(file.stat().st_size for file in out.iterdir())
    if size > BUNDLE_LIMIT:
        raise ShipError(f"{out} has {size / 1e6:.1f} MB, more than {BUNDLE_LIMIT / 1e6:.0f}", "shrink the encoder")
    return bundle


def complete(bundle: Bundle, metrics: dict[str, Any], card: str) -> Bundle:
    """Put figures measured through the bundle's own graphs and the card into it."""
    files: dict[str, bytes | Path] = {name: bundle.path / name for name in bundle.files}
    files["MODEL_CARD.md"] = card.encode()
    return write_bundle(bundle.path, bundle.spec, files, bundle.provenance, metrics)
