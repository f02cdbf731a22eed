"""``dfer-engine``: bundles to engines, proven on this machine."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from engine.backends import NAMES, BackendError
from engine.build.build import BuildError, BuildOptions, build, verify
from engine.build.parity import Bounds, ParityError
from engine.bundle.bundle import BundleError
from engine.bundle.engine_directory import EngineDirectory, open_artefact
from engine.console import guarded
from engine.preprocess import CropError

_ABOUT = """\
Turns a bundle (a trained model, made by dfer-train) into the fastest correct thing for this machine.

  dfer-engine build BUNDLE OUT         prepare, prove on this device, write an engine directory
  dfer-engine verify DIR               check every file and run the golden vectors again
  dfer-engine bench DIR                milliseconds per step, beside the floor and the naive recompute
  dfer-engine inspect PATH             what a bundle, engine directory or ONNX graph is
  dfer-engine export BUNDLE OUT        rewrite the graphs: mixed FP16, batch, opset

A bundle runs as it is (dfer-stream run --bundle); an engine directory is needed for TensorRT and INT8, and records
that this very machine reproduced the bundle's golden vectors (dfer-stream run --engine).
"""
_EXAMPLES = {
    "build": """\
Without --backend and --precision it takes the first back end that runs here and the fastest of its precisions that
passes the gate, and prints why. The gate: 256 golden windows, probabilities within --max-delta of FP32, --top1 of the
classes equal. An engine that fails it is not written.

  dfer-engine build model car.engine
  dfer-engine build model car.engine --backend tensorrt --timing-cache /var/cache/dferstream/timing
  dfer-engine build model small.engine --precision int8 --crops crops.npz
""",
    "verify": """\
Exit status 0 means: no byte was altered, the directory was made for this machine, and it still answers as FP32 does.
An engine of another machine is refused; --adopt runs the gate here instead and, if it passes, records this machine.

  dfer-engine verify car.engine && systemctl restart dferstream@cam0
  dfer-engine verify copied.engine --adopt         after build --hardware-compatible or --version-compatible
""",
    "bench": """\
The floor is what the hardware cannot beat: the weights read once, or the multiply-adds at the measured peak, whichever
is longer. encode/floor says how far from it the encoder is; 'recomputing' is what every step would cost without a ring.

  dfer-engine bench car.engine
  dfer-engine bench model --backend onnxruntime --threads 1 --batches 1,4 --json > onnxruntime.json
""",
    "export": """\
For runtimes that dfer-engine build does not know. FP16 is mixed: LayerNorm, the residual stream and the scores stay in
FP32. The graphs are rounded to half after every node and held against FP32 before they appear.

  dfer-engine export model half                    mixed FP16, batch 1-8
  dfer-engine export model fixed --batch 1 --precision fp32
""",
}
_ERRORS = (BundleError, BackendError, BuildError, ParityError, CropError)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line.

    Args:
        arguments: Without the program's name; the process's own if not given.

    Returns:
        The exit status: 0, 1 after an error of ours, 130 after Ctrl-C.
    """
    args = _parser().parse_args(arguments)
    return guarded("dfer-engine", lambda: _run(args))


def _run(args: argparse.Namespace) -> int:
    try:
        result, lines = args.run(args)
    except KeyboardInterrupt:
        print("dfer-engine: stopped; nothing was left half-written", file=sys.stderr)
        return 130
    except Exception as error:
        if not _ours(error):
            raise
        print(f"dfer-engine: {error}", file=sys.stderr)
        return 1
    if args.json:
        print(json.dumps(result, indent=2, sort_keys=True))
    else:
        print("\n".join(lines))
    return 0


def _ours(error: Exception) -> bool:
    # Errors of the optional parts (onnx, nncf) are ours too, but importing their modules just to name them is not
    # free on a device.
    return isinstance(error, _ERRORS) or type(error).__module__.startswith("engine.")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "dfer-engine", description=_ABOUT, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def command(name: str, run: Any, about: str) -> argparse.ArgumentParser:
        sub = commands.add_parser(
            name,
            help=about,
            description=about,
            epilog=_EXAMPLES.get(name),
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        sub.set_defaults(run=run)
        sub.add_argument("--json", action="store_true", help="print one JSON object instead of text")
        return sub

    sub = command("build", _build, "Build an engine directory; it appears only if the gate passes on this device.")
    sub.add_argument("bundle", type=Path, help="the bundle's directory")
    sub.add_argument("out", type=Path, help="where the engine directory will stand")
    sub.add_argument("--backend", choices=NAMES, default="auto", help="auto takes the best that is installed here")
    sub.add_argument("--precision", choices=("fp16", "bf16", "fp32", "int8"), help="left out: measured or the default")
    sub.add_argument("--crops", type=Path, help="int8: .npz with captured crops under 'crops'")
    sub.add_argument(
        "--workspace-mb", type=_positive, default=1024, help="tensorrt: memory cap of a layer (default 1024)"
    )
    sub.add_argument("--faces", type=_positive, default=8, help="tensorrt: most faces in a batch (default 8)")
    sub.add_argument("--timing-cache", type=Path, help="tensorrt: file that makes the next build faster")
    sub.add_argument(
        "--hardware-compatible", action="store_true", help="tensorrt: also for newer GPUs, see verify --adopt"
    )
    sub.add_argument(
        "--version-compatible", action="store_true", help="tensorrt: also for later releases, see verify --adopt"
    )
    _bounds(sub)
    _threads(sub)
    sub = command("verify", _verify, "Check every file of a bundle or engine directory and run its golden vectors.")
    sub.add_argument("path", type=Path, help="a bundle's or engine's directory")
    sub.add_argument(
        "--adopt", action="store_true", help="prove here what was proven elsewhere, and record this machine"
    )
    _bounds(sub)
    _threads(sub)
    sub = command("bench", _bench, "Measure encode, ring and head per step, beside floors and the naive recompute.")
    sub.add_argument("path", type=Path, help="a bundle's or engine's directory")
    sub.add_argument("--backend", choices=NAMES, default="auto")
    sub.add_argument("--precision", choices=("fp16", "bf16", "fp32", "int8"))
    sub.add_argument("--batches", type=_numbers, default=(1, 2, 4, 8), help="faces per step (default 1,2,4,8)")
    sub.add_argument("--windows", type=_numbers, default=(8, 16, 32, 64), help="ring lengths (default 8,16,32,64)")
    sub.add_argument("--rounds", type=_positive, default=20, help="timed rounds per figure (default 20)")
    _threads(sub)
    sub = command("inspect", _inspect, "Say what a bundle, an engine directory or an ONNX graph is.")
    sub.add_argument("path", type=Path, help="a directory, or a file ending in .onnx")
    sub = command("export", _export, "Rewrite a bundle's graphs for another runtime and check them against the rules.")
    sub.add_argument("bundle", type=Path, help="the bundle's directory")
    sub.add_argument("out", type=Path, help="a new directory for encoder.onnx and head.onnx")
    sub.add_argument("--precision", choices=("fp32", "fp16"), default="fp16")
    sub.add_argument(
        "--batch",
        type=_batch,
        default=(1, 8),
        metavar="N|LOW-HIGH",
        help="fixed, for runtimes that want static shapes, or the profile of a dynamic one (default 1-8)",
    )
    sub.add_argument(
        "--opset",
        type=int,
        choices=(18, 23),
        help="18 for TensorRT from 10.3 on, 23 for newer runtimes (default: the bundle's)",
    )
    return parser


def _bounds(sub: argparse.ArgumentParser) -> None:
    sub.add_argument("--max-delta", type=float, default=0.02, help="gate: largest difference of a probability (0.02)")
    sub.add_argument("--top1", type=float, default=0.99, help="gate: smallest share of equal classes (0.99)")


def _threads(sub: argparse.ArgumentParser) -> None:
    sub.add_argument("--threads", type=_positive, help="CPU threads (default: all cores)")


def _numbers(text: str) -> tuple[int, ...]:
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isdecimal() and int(part) for part in parts):
        raise argparse.ArgumentTypeError(f"whole numbers from 1, separated by commas, not {text!r}")
    return tuple(int(part) for part in parts)


def _positive(text: str) -> int:
    if not (text.isdecimal() and int(text)):
        raise argparse.ArgumentTypeError(f"a whole number from 1, not {text!r}")
    return int(text)


def _batch(text: str) -> int | tuple[int, int]:
    low, dash, high = text.partition("-")
    if not low.isdecimal() or (dash and not high.isdecimal()) or not 1 <= int(low) <= int(high or low):
        raise argparse.ArgumentTypeError(f"a batch such as 1, or a profile such as 1-8, not {text!r}")
    return (int(low), int(high)) if dash else int(low)


def _build(args: argparse.Namespace) -> tuple[dict[str, Any], list[str]]:
    options = BuildOptions(
        precision=args.precision,
        bounds=Bounds(args.max_delta, args.top1),
        threads=args.threads,
        crops=args.crops,
        workspace_mb=args.workspace_mb,
        faces=args.faces,
        timing_cache=args.timing_cache,
        hardware_compatible=args.hardware_compatible,
        version_compatible=args.version_compatible,
    )
    say = (lambda line: None) if args.json else (lambda line: print(f"  {line}", flush=True))
    built = build(args.bundle, args.out, args.backend, options, say)
    engine = built.engine
    result = {
        "path": str(engine.path),
        "backend": engine.backend,
        "precision": engine.precision,
        "parity": built.parity.to_dict(),
        "seconds": round(built.seconds, 1),
        "notes": list(built.notes),
    }
    lines = [
        f"{engine.path}: {engine.spec.name} for {engine.backend} in {engine.precision}, {built.seconds:.1f} s",
        _parity_line(built.parity.to_dict()),
        f"run it with: dfer-stream run --engine {engine.path}",
    ]
    return result, lines


def _verify(args: argparse.Namespace) -> tuple[dict[str, Any], list[str]]:
    parity = verify(args.path, Bounds(args.max_delta, args.top1), args.threads, args.adopt).to_dict()
    said = "ok, and recorded as proven on this machine" if args.adopt else "ok"
    result = {"path": str(args.path), "parity": parity, "adopted": args.adopt}
    return result, [f"{args.path}: {said}", _parity_line(parity)]


def _bench(args: argparse.Namespace) -> tuple[dict[str, Any], list[str]]:
    from engine.bench.bench import measure, table

    report = measure(args.path, args.backend, args.precision, args.threads, args.batches, args.windows, args.rounds)
    return report, table(report)


def _inspect(args: argparse.Namespace) -> tuple[dict[str, Any], list[str]]:
    if args.path.suffix == ".onnx":
        from engine.graph.inspect import describe

        return describe(args.path)
    artefact = open_artefact(args.path)
    spec = artefact.spec
    result: dict[str, Any] = {
        "path": str(args.path),
        "kind": "engine" if isinstance(artefact, EngineDirectory) else "bundle",
        "sha256": artefact.sha256,
        "spec": spec.to_dict(),
        "metrics": dict(artefact.metrics),
        "calibrated": artefact.calibration() is not None,
    }
    lines = [
        f"{args.path}: {result['kind']} of {spec.name}, every file verified",
        f"  model      {artefact.sha256}",
        f"  labels     {', '.join(spec.labels)}",
        f"  window     {spec.window} units of {spec.unit} crops of {spec.crop.size_px} px at {spec.sample_hz:g} Hz "
        f"({spec.span_s:.1f} s), scored every {spec.hop} samples",
        f"  feature    {spec.feature} numbers; scores of single samples: {'yes' if spec.has_now else 'no'}",
        f"  calibrated {'yes' if result['calibrated'] else 'no'}",
    ]
    if isinstance(artefact, EngineDirectory):
        result.update(
            backend=artefact.backend,
            precision=artefact.precision,
            runtime=dict(artefact.runtime),
            gate=dict(artefact.gate),
        )
        lines += [f"  runs on    {artefact.backend} in {artefact.precision}: {dict(artefact.runtime)}"]
        lines += [f"  {_parity_line(artefact.gate)}"]
    return result, lines


def _export(args: argparse.Namespace) -> tuple[dict[str, Any], list[str]]:
    from engine.export.rewrite import rewrite

    return rewrite(args.bundle, args.out, args.precision, args.batch, args.opset)


def _parity_line(parity: Any) -> str:
    return (
        f"gate: {parity['windows']} windows, probabilities within {parity['max_delta']:.5f} of FP32, "
        f"{parity['top1']:.1%} equal classes"
    )


if __name__ == "__main__":
    sys.exit(main())
