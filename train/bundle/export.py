"""A trained run to a bundle that `dfer-engine` and `dfer-stream` take as it is."""

from __future__ import annotations

import json
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.bundle.bundle import Bundle
from engine.spec import ModelSpec
from train.data.frames import iterate_frames
from train.data.record import Clip, DataError
from train.models.clip.lora import merge_lora
from train.settings import RunConfig
from train.training.checkpoint import tensors_sha256
from train.training.fit import load_run, selected_weights
from train.training.transfer import model_settings

_SYNTHETIC = "Trained on synthetic clips: its figures say nothing about real faces."
_PAPER_PROTOCOL = "Epoch chosen on the test part (paper-protocol): its test figures are too high."


def demo_crops(spec: ModelSpec, units: int = 12) -> NDArray[np.uint8]:
    """Units of aligned crops of the project's own demo clip, from which golden vectors are made.

    Args:
        spec: Unit size and crop geometry.
        units: n.

    Returns:
        ``(n, U, S, S, 3)`` uint8 RGB, evenly spread over the clip.

    Raises:
        DataError: If no face is followed in the demo clip.
    """
    from stream.faces import FaceTracker
    from stream.window.crop import crop_face

    with resources.as_file(resources.files("stream.demo") / "clip.mp4") as path:
        tracker = FaceTracker()
        crops = []
        for seconds, image in iterate_frames(Clip("demo", path, "neutral")):
            seen = [
                f for f in tracker.step(np.ascontiguousarray(image), int(seconds * 1e9)).faces if f.points5 is not None
            ]
            if seen and seen[0].points5 is not None:
                crops.append(crop_face(image, seen[0].points5, spec.crop))
    if len(crops) < units * spec.unit:
        raise DataError(
            f"the demo clip gave {len(crops)} crops, {units * spec.unit} are needed", "broken installation?"
        )
    chosen = np.linspace(0, len(crops) - 1, units * spec.unit).astype(int)
    return np.stack([crops[i] for i in chosen]).reshape(units, spec.unit, *crops[0].shape)


def export_run(run: Path, out: Path, weights: str | None = None, opset: int = 18) -> Bundle:
    """Export a run.

    Args:
        run: The run's folder.
        out: The bundle's directory.
        weights: ``best.safetensors`` or ``last.safetensors``; None for what the run selects.
        opset: 18 or 23.

    Returns:
        The bundle, verified against its golden vectors.

    Raises:
        SettingsError: If the folder holds no run.
        CheckpointError: If its weights cannot be read.
        ExportError: If the graphs do not keep the contract.
    """
    from engine.export.export import export_bundle

    model, config = load_run(run, weights)
    merge_lora(model)
    spec = model.spec()
    used = weights or selected_weights(config)
    metrics = _evaluations(run, used)
    provenance = {
        # Enough to build the same module again: `fit --from` reads it.
        "model": model_settings(model, config.model.encoder),
        "config": config.to_dict(),
        "weights": {"file": used, "sha256": tensors_sha256(model.state_dict())},
        "data": json.loads((run / "data-report.json").read_text("utf-8")),
    }
    return export_bundle(
        model.runtime_encoder(),
        model.runtime_head(),
        spec,
        out,
        golden_crops=demo_crops(spec),
        provenance=json.loads(json.dumps(provenance, default=list)),
        metrics=metrics,
        model_card=model_card(config, spec, metrics),
        opset=opset,
    )


def _evaluations(run: Path, used: str) -> dict[str, Any]:
    """Figures of `dfer-train evaluate` on these weights, where there are some."""
    path = run / f"evaluation-{Path(used).stem}.json"
    return dict(json.loads(path.read_text("utf-8"))) if path.is_file() else {}


def model_card(config: RunConfig, spec: ModelSpec, metrics: dict[str, Any]) -> str:
    """The bundle's ``MODEL_CARD.md``."""
    lines = [
        f"# {spec.name}",
        "",
        f"Classes: {', '.join(spec.labels)}.",
        f"Window: {spec.samples} samples at {spec.sample_hz:g} Hz, units of {spec.unit}, scored every {spec.hop}.",
        f"Encoder: {config.model.encoder}. Data: {config.data.source}, fold {config.data.fold}.",
        "",
    ]
    if config.data.source == "synthetic":
        lines += [f"**{_SYNTHETIC}**", ""]
    if config.loop.select == "paper-protocol":
        lines += [f"**{_PAPER_PROTOCOL}**", ""]
    if metrics:
        for name in ("uar", "war"):
            value = metrics[name]
            lines.append(
                f"- {name.upper()} {100 * value['value']:.2f} (95 % interval {100 * value['low']:.2f} to "
                f"{100 * value['high']:.2f}), n = {metrics['clips']}"
            )
        if metrics.get("absent"):
            lines.append(f"- absent from the test part: {', '.join(metrics['absent'])}")
        lines.append("")
    else:
        lines += ["Not evaluated: run `dfer-train evaluate` on the run and export again.", ""]
    lines += [
        "An expression score is not a feeling and not a diagnosis. The data sets' licences bind whoever uses weights",
        "trained on them.",
        "",
    ]
    return "\n".join(lines)
