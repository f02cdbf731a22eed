"""``dfer-engine inspect``: what a bundle, an engine directory or an ONNX graph is."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from engine.backends.runtime import open_artefact
from engine.bundle.engine_directory import EngineDirectory
from engine.commands.report import add_json, parity_line, show


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of ``dfer-engine inspect``."""
    parser.add_argument("path", type=Path, help="a directory, or a file ending in .onnx")
    add_json(parser)


def run(args: argparse.Namespace) -> int:
    """Open, which checks every file, and describe."""
    if args.path.suffix == ".onnx":
        from engine.graph.inspect import describe  # needs onnx, which a device may not have

        graph = describe(args.path)
        return show(args, graph.to_dict(), graph.lines())
    artefact = open_artefact(args.path)
    spec = artefact.spec
    values: dict[str, Any] = {
        "path": str(args.path),
        "kind": "engine" if isinstance(artefact, EngineDirectory) else "bundle",
        "sha256": artefact.sha256,
        "spec": spec.to_dict(),
        "metrics": dict(artefact.metrics),
        "calibrated": artefact.calibration() is not None,
    }
    lines = [
        f"{args.path}: {values['kind']} of {spec.name}, every file verified",
        f"  model      {artefact.sha256}",
        f"  labels     {', '.join(spec.labels)}",
        f"  window     {spec.window} units of {spec.unit} crops of {spec.crop.size_px} px at {spec.sample_hz:g} Hz "
        f"({spec.span_s:.1f} s), scored every {spec.hop} samples",
        f"  feature    {spec.feature} numbers; scores of single samples: {'yes' if spec.has_now else 'no'}",
        f"  calibrated {'yes' if values['calibrated'] else 'no'}",
    ]
    if isinstance(artefact, EngineDirectory):
        values.update(
            backend=artefact.backend,
            precision=artefact.precision,
            runtime=dict(artefact.runtime),
            gate=dict(artefact.gate),
        )
        lines += [f"  runs on    {artefact.backend} in {artefact.precision}: {dict(artefact.runtime)}"]
        lines += [f"  {parity_line(artefact.gate)}"]
    return show(args, values, lines)
