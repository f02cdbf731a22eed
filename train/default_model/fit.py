"""Train the compact encoder on FER+ votes as soft targets.

``python -m train.default_model.fit`` runs one process per core (``--procs``), each with its own share of the batch;
gradients are averaged, so the result is that of one process with the whole batch, batch statistics aside. On small
kernels two
processes of one thread are 1.5 times as fast as one process of two threads (220 against 148 crops/s, 2 cores).
The schedule is a function of progress in [0, 1]: epochs done of ``--epochs``, or time spent of ``--minutes``.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import shutil
import signal
import subprocess
import sys
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import distributed, nn

from calibration.metrics import uar, war
from engine.errors import DferError
from engine.spec import SEVEN_CLASSES, CropGeometry
from train.data.augment.still import crop_matrices, render
from train.data.layouts.ferplus import FacesError, Stills, hold_out, load_split
from train.default_model.checkpoint import (
    CheckpointError,
    build_encoder,
    name_of,
    read_average,
    read_classifier,
    read_record,
    without_history,
)
from train.default_model.run import FitConfig, Run, fast_bfloat16
from train.models.compact.encoder import EncoderConfig, FrameClassifier
from train.models.compact.grow import GrowError, grown
from train.models.compact.pretrained import NAME, SHA256, PretrainedError, read_graph
from train.models.compact.separable import SeparableConfig

_CPU_SETTINGS = {
    # Without these glibc returns every large activation to the kernel and faults it in again.
    "MALLOC_MMAP_THRESHOLD_": "4000000000", "MALLOC_TRIM_THRESHOLD_": "8000000000", "GLOO_SOCKET_IFNAME": "lo",
}  # fmt: skip

NUMBERS = {
    "seed": "of everything random",
    "epochs": "passes over the stills; with --minutes at most",
    "minutes": "wall-clock time that the schedule spans; 0: by epochs",
    "batch": "crops per step, over all processes",
    "rate": "peak learning rate",
    "fresh": "factor on it for layers that no pre-trained weights fill",
    "clip": "largest norm of a step's gradient; 0: any",
    "decay": "weight decay",
    "rare": "power of a class's rarity in its stills' weight when they are drawn",
    "original": "weight of FER2013's own label beside the votes in that rarity",
    "slips": "votes of a still for one class that count as slips of the hand, at most",
    "teacher": "share of the teachers' answers in the targets",
    "replay": "how often a crop is used once teachers have answered it, on average",
    "swap_share": "share of batches with one face's lower part under another's upper part; teachers alone answer",
    "mixup_share": "share of batches whose crops are mixed in pairs",
    "settle": "share of the run, at its end, with half the disturbance",
    "mixup": "parameter of the Beta distribution that mixes; 0: none",
    "ema": "decay of the averaged weights per step",
    "validation": "share of twin clusters held out of the training",
}
"""Fields of :class:`~train.default_model.run.FitConfig` that are options of the command line."""


class SettingsError(DferError):
    """Settings that do not go together or that this machine cannot meet: the message names the remedy."""


@torch.inference_mode()
def predict(
    model: nn.Module, stills: Stills, size_px: int, geometry: CropGeometry | None = None
) -> NDArray[np.float32]:
    """``(N, C)`` logits of undisturbed aligned crops."""
    matrices = torch.from_numpy(crop_matrices(stills.points, geometry or CropGeometry(size_px=size_px)))
    grey = torch.from_numpy(stills.grey)
    device = next(model.parameters()).device
    model.eval()
    parts = [
        model(render(grey[i : i + 128].to(device), matrices[i : i + 128].to(device), size_px)).float().cpu()
        for i in range(0, len(stills), 128)
    ]
    return torch.cat(parts).numpy()


@dataclass(frozen=True)
class Files:
    """What a run reads and writes.

    Attributes:
        data: Folder with FER+.
        cache: Folder of cached stills.
        out: Folder of the run.
        start: Checkpoint of a run to go on from, or None.
        teachers: Checkpoints of trained models that are asked about every crop.
        pretrained: Folder of a network that knows faces, or None.
    """

    data: Path
    cache: Path
    out: Path
    start: Path | None = None
    teachers: tuple[Path, ...] = ()
    pretrained: Path | None = None


def fit(
    config: FitConfig, shape: EncoderConfig | SeparableConfig, files: Files, device: str, rank: int, world: int
) -> None:
    """Train in this process; with ``world`` > 1 its siblings run the same function."""
    if device == "cpu":
        torch.set_num_threads(max((os.cpu_count() or 1) // world, 1))
    if world > 1:
        distributed.init_process_group(
            "gloo", init_method=f"file://{files.out.resolve() / 'meet'}", rank=rank, world_size=world
        )
    stills = load_split(files.data, "train", files.cache)
    held = hold_out(stills, config.validation)
    validation = stills.select(held & stills.usable)
    taught = [read_classifier(path) for path in files.teachers]
    run = Run(config, shape, stills.select(~held), device, rank, world, [model for model, _ in taught])
    teachers = [{"name": name_of(about), **without_history(about)} for _, about in taught]
    record = run.resume(files.out)
    if not record and files.pretrained is not None:
        run.start_pretrained(files.pretrained)
        record["pretrained"] = {"name": NAME, "sha256": SHA256}
    if not record and files.start is not None:
        run.start_from(files.start)
        record["start"] = without_history(read_record(files.start))
    history: list[dict[str, float]] = record.get("history", [])
    while run.epoch < config.epochs and (not history or history[-1]["progress"] < 1):
        row = run.train_epoch()
        row |= {"epoch": run.epoch, "spent_min": run.spent_s / 60}
        last = run.epoch >= config.epochs or row["progress"] >= 1
        if rank == 0:
            if last or run.epoch % config.check_every == 0:
                logits = predict(run.averaged(), validation, shape.size_px)
                for name, measure in (("val_war", war), ("val_uar", uar)):
                    row[name] = 100 * measure(logits, validation.plurality)
            print(" ".join(f"{k} {v:.4g}" for k, v in row.items()), flush=True)
        history.append(row)
        if rank == 0:
            about = {"config": asdict(config), "shape": asdict(shape), "data_sha256": stills.sha256, "world": world}
            about |= {name: record[name] for name in ("start", "pretrained") if name in record}
            about |= {"teachers": teachers} if teachers else {}
            run.save(files.out, {"history": history, **about})
    if world > 1:
        distributed.destroy_process_group()


def decide_precision(wanted: str, device: str, world: int) -> str:
    """One precision for all processes of a run: each one's own trial could come out differently."""
    if wanted != "auto" or device != "cpu":
        return wanted
    torch.set_num_threads(max((os.cpu_count() or 1) // world, 1))
    return "bfloat16" if fast_bfloat16() else "float32"


def _siblings(arguments: list[str], world: int) -> int:
    """Run one process per rank; where one fails or this one is told to end, all of them end."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    command = [sys.executable, "-m", "train.default_model.fit", *arguments, "--procs", str(world), "--rank"]
    children = [subprocess.Popen([*command, str(rank)]) for rank in range(world)]
    try:
        while any(child.poll() is None for child in children):
            if any(child.poll() for child in children):
                return 1
            with contextlib.suppress(subprocess.TimeoutExpired):
                children[0].wait(0.5)
        return 1 if any(child.returncode for child in children) else 0
    finally:
        for child in children:
            child.terminate()
            child.wait()


def main(arguments: list[str] | None = None) -> int:
    """Command line of the encoder's training."""
    parser = argparse.ArgumentParser(prog="python -m train.default_model.fit", description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder with FER+'s train.zip, dev.zip and tables")
    parser.add_argument("--cache", type=Path, default=Path(".cache/compact"), help="folder of cached stills")
    parser.add_argument("--out", type=Path, default=Path("runs/compact"), help="folder of the run; resumed if begun")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu", help="cpu or cuda")
    parser.add_argument("--procs", type=int, default=0, help="processes; default: one per core on a CPU, one on a GPU")
    for name, text in NUMBERS.items():
        default = getattr(FitConfig, name)
        option = f"--{name.replace('_', '-')}"
        parser.add_argument(option, type=type(default), default=default, help=f"{text} (%(default)s)")
    lists = {
        "sizes": (FitConfig.sizes, "crop sides by equal parts of the run"),
        "depths": (EncoderConfig.depths, "blocks of each stage"),
    }
    for name, (default, text) in lists.items():
        parser.add_argument(f"--{name}", type=int, nargs="+", default=list(default), help=text)
    parser.add_argument("--dropout", type=float, help="of features, while training; default: the encoder's own")
    parser.add_argument("--drop-path", type=float, help="of residual blocks, likewise")
    parser.add_argument("--start", type=Path, help="last.safetensors of a run to go on from, whose blocks may be fewer")
    parser.add_argument("--teachers", type=Path, nargs="+", default=[], help="trained runs asked about every crop")
    parser.add_argument("--encoder", choices=("residual", "separable"), default="residual")
    parser.add_argument("--optimizer", choices=("sgd", "adamw"), default=FitConfig.optimizer)
    parser.add_argument(
        "--precision", choices=("auto", "float32", "bfloat16"), default=FitConfig.precision,
        help="auto tries which is faster here; runs that are to repeat exactly name one",
    )  # fmt: skip
    parser.add_argument(
        "--pretrained", type=Path, help="folder with a network that knows faces, for --encoder separable; "
        "train/models/compact/pretrained.py says which and how to get it",
    )  # fmt: skip
    parser.add_argument(
        "--compiled", action="store_true", help="compile the learner's step: takes a C++ compiler and a minute"
    )
    parser.add_argument("--rank", type=int, default=-1, help=argparse.SUPPRESS)
    arguments = sys.argv[1:] if arguments is None else arguments
    given = parser.parse_args(arguments)
    settings = {k: v for k, v in vars(given).items() if k in FitConfig.__dataclass_fields__}
    config = replace(FitConfig(), **{**settings, "sizes": tuple(given.sizes)})
    separable = given.encoder == "separable"
    shape: EncoderConfig | SeparableConfig = (
        SeparableConfig() if separable else EncoderConfig(depths=tuple(given.depths))
    )
    if given.dropout is not None:
        shape = replace(shape, dropout=given.dropout)
    if given.drop_path is not None and isinstance(shape, EncoderConfig):
        shape = replace(shape, drop_path=given.drop_path)
    world = given.procs or (min(os.cpu_count() or 1, 4) if given.device == "cpu" else 1)
    if given.rank < 0:
        given.out.mkdir(parents=True, exist_ok=True)
        (given.out / "meet").unlink(missing_ok=True)
        try:
            load_split(given.data, "train", given.cache)
            if given.pretrained is not None:
                if not separable:
                    raise PretrainedError("pre-trained weights fit --encoder separable alone")
                read_graph(given.pretrained)
            for path in given.teachers:
                read_classifier(path)
            if given.drop_path is not None and separable:
                raise SettingsError("--drop-path skips residual blocks: --encoder separable has none")
            if given.compiled and given.device == "cpu" and shutil.which(os.environ.get("CXX", "g++")) is None:
                raise SettingsError("--compiled needs a C++ compiler (Debian: apt install g++)")
            if not 1 <= config.replay <= config.batch // world:
                raise SettingsError(f"--replay must leave each process a crop of a batch: 1 to {config.batch // world}")
            if config.replay > 1 and set(config.sizes) != {shape.size_px}:
                raise SettingsError(f"--replay keeps crops of one size: it needs --sizes {shape.size_px}")
            if given.start is not None:
                read_record(given.start)
                # Refused here once, rather than by every process after its data is read.
                grown(read_average(given.start), FrameClassifier(build_encoder(shape), len(SEVEN_CLASSES)).state_dict())
        except (CheckpointError, FacesError, GrowError, PretrainedError, SettingsError) as error:
            print(f"train.default_model.fit: {error}", file=sys.stderr)
            return 1
        if world > 1:
            os.environ |= {k: v for k, v in _CPU_SETTINGS.items() if k not in os.environ}
            precision = decide_precision(config.precision, given.device, world)
            try:
                return _siblings([*arguments, "--precision", precision], world)
            except KeyboardInterrupt:
                return _stopped(given.out)
    rank = max(given.rank, 0)
    files = Files(**{name: getattr(given, name) for name in Files.__dataclass_fields__})
    try:
        fit(config, shape, files, given.device, rank, world)
    except CheckpointError as error:
        print(f"train.default_model.fit: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return _stopped(given.out) if given.rank < 0 else 130
    return 0


def _stopped(out: Path) -> int:
    """What Ctrl-C leaves and how to go on; the exit code."""
    print(
        f"train.default_model.fit: stopped; the same command goes on from the last whole epoch in {out}",
        file=sys.stderr,
    )
    return 130


if __name__ == "__main__":
    raise SystemExit(main())
