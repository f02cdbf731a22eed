"""``dfer-train``: prepare, fit, evaluate, table, inspect, bench, export and synth on one command line."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path

from engine.console import guarded
from engine.spec import SpecError

_OWN_PARSER = {"inspect": "train.bundle.inspect", "random-bundle": "train.bundle.random_bundle"}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run ``dfer-train``.

    Args:
        arguments: Command line without the program's name; `sys.argv`'s if not given.

    Returns:
        Exit status: 0 done, 1 an error that is said in one line, 130 interrupted.
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    return guarded("dfer-train", lambda: _run(words))


def _run(words: list[str]) -> int:
    try:
        if words and words[0] in _OWN_PARSER:
            # These read their own arguments.
            return int(import_module(_OWN_PARSER[words[0]]).main(words[1:]))
        options = _parser().parse_args(words)
        return int(options.run(options))
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    except Exception as error:
        if not _ours(error):
            raise
        print(f"dfer-train: {error}", file=sys.stderr)
        return 1


def _ours(error: Exception) -> bool:
    """Whether an error is one of this project's, meant for the user, and no bug."""
    return isinstance(error, SpecError) or type(error).__module__.partition(".")[0] in ("train", "engine", "stream")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("dfer-train", description="Train, evaluate and export expression models.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    _fit_parser(commands.add_parser("fit", help="train a model", description="Train a model."))
    _evaluate_parser(commands.add_parser("evaluate", help="measure trained runs and write an HTML report"))
    _prepare_parser(commands.add_parser("prepare", help="cut faces out of raw videos as the daemon does"))
    _table_parser(commands.add_parser("table", help="run an ablation table of a paper beside its figures"))
    commands.add_parser("inspect", help="parameters, multiply-adds, shapes and memory of a configuration")
    _bench_parser(commands.add_parser("bench", help="clips per second and peak memory of a training step"))
    commands.add_parser("random-bundle", help="a bundle with random weights, for trying the daemon")
    _export_parser(commands.add_parser("export", help="write a trained run as a bundle"))
    _synth_parser(commands.add_parser("synth", help="write synthetic clips with frame truth to the disk"))
    return parser


def _data_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--source", help="dfew, ferv39k, mafw, clips or synthetic (data.source)")
    parser.add_argument("--data", help="the data set's folder or CSV file (data.root)")


def _device_argument(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N")


def _fit_parser(parser: argparse.ArgumentParser) -> None:
    from train.settings_help import settings_text

    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = settings_text()
    parser.add_argument("--model", help="tg-dfer, dk-clip or clip-guided: its paper's recipe is the base")
    parser.add_argument("--config", type=Path, help="TOML file of settings")
    _data_arguments(parser)
    parser.add_argument("--fold", type=int, help="fold, from 1 (data.fold)")
    parser.add_argument("--encoder", help="vit-b-32, vit-b-16, compact or tiny (model.encoder)")
    parser.add_argument("--weights", help="CLIP weights: Hugging Face id or folder, .safetensors, .pt (model.weights)")
    parser.add_argument("--select", help="best-on-validation, last, or paper-protocol (loop.select)")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="any setting below")
    parser.add_argument(
        "--from", dest="start_from", type=Path, metavar="BUNDLE", help="begin with the weights of a bundle or run"
    )
    parser.add_argument("--out", type=Path, required=True, help="folder of the run")
    parser.add_argument("--resume", action="store_true", help="go on with the run in --out")
    _device_argument(parser)
    parser.add_argument("--quiet", action="store_true", help="no progress bar")
    parser.set_defaults(run=_command("fit"))


def _evaluate_parser(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "runs", nargs="+", type=Path, metavar="RUN", help="run folders; several are folds of one experiment"
    )
    _data_arguments(parser)
    parser.add_argument("--fold", type=int, help="fold of another data set")
    parser.add_argument(
        "--weights", choices=("best", "last"), help="default: what the run selects, and the other beside it"
    )
    parser.add_argument("--no-audit", action="store_true", help="leave out the temporal audit (three passes more)")
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--report", type=Path, help="HTML file; default report.html in the first run")
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")
    _device_argument(parser)
    parser.set_defaults(run=_command("evaluate"))


def _prepare_parser(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "videos", type=Path, help="CSV path,label[,start_s,end_s][,subject], or folders <class>/<video>"
    )
    parser.add_argument(
        "--out", type=Path, required=True, help="folder for crops, CSV, contact sheet and list of failures"
    )
    parser.add_argument("--part", default="train", help="name of the CSV: train, val or test")
    parser.add_argument("--size", type=int, default=224, help="side of a crop, px")
    parser.add_argument("--workers", type=int, default=0, help="processes; 0: one per core")
    parser.set_defaults(run=_command("prepare"))


def _table_parser(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("number", help="the table's number in the paper, for example 4 or fig3")
    parser.add_argument("--model", default="tg-dfer", help="tg-dfer, dk-clip or clip-guided: which paper")
    _data_arguments(parser)
    parser.add_argument("--encoder", help="another encoder than the paper's")
    parser.add_argument("--weights", default="", help="CLIP weights")
    parser.add_argument("--folds", type=int, nargs="+", help="other folds than the paper's")
    parser.add_argument("--only", nargs="+", default=[], metavar="WORD", help="rows whose name holds one of these")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="any setting of fit")
    parser.add_argument("--out", type=Path, help="folder for the runs; a call with the same one goes on")
    parser.add_argument("--list", action="store_true", help="only print the paper's figures")
    _device_argument(parser)
    parser.set_defaults(run=_command("table"))


def _bench_parser(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--model", default="tg-dfer", help="tg-dfer, dk-clip or clip-guided, with its paper's recipe")
    parser.add_argument("--encoder", default="vit-b-32", help="vit-b-32, vit-b-16, compact or tiny")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="any setting of fit")
    parser.add_argument("--steps", type=int, default=20, help="timed optimizer steps, after 3 untimed ones")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    _device_argument(parser)
    parser.set_defaults(run=_command("bench"))


def _export_parser(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("source", type=Path, metavar="RUN", help="the run's folder")
    parser.add_argument("--out", type=Path, required=True, help="the bundle's directory")
    parser.add_argument("--weights", choices=("best", "last"), help="default: what the run selects")
    parser.add_argument("--opset", type=int, default=18, choices=(18, 23))
    parser.set_defaults(run=_command("export"))


def _synth_parser(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("out", type=Path, help="folder for frames and CSV files")
    parser.add_argument("--clips", type=int, default=0, help="training clips (data.clips of fit); 0: the committed set")
    parser.add_argument("--noise", type=float, default=0.75, help="share of noise frames, [0, 1)")
    parser.add_argument("--size", type=int, default=32, help="side of a frame, px")
    parser.set_defaults(run=_command("synth"))


def _command(name: str) -> Callable[[argparse.Namespace], int]:
    """A command of `train.commands`, imported only when it is called: torch takes seconds."""

    def run(options: argparse.Namespace) -> int:
        from train import commands

        command: Callable[[argparse.Namespace], int] = getattr(commands, name)
        return command(options)

    return run


if __name__ == "__main__":
    sys.exit(main())
