"""The default model from its data to its bundle: ``python -m train.default_model --data <folder with FER+>``.

Stages: ``encoder`` (:mod:`train.default_model.fit`, resumable), ``deepen`` (two more blocks and a second, calmer run
from the first one's weights, resumable too), ``blend`` (weights between the two), ``teacher`` (another encoder, which
starts from a network that knows faces), ``distil`` (the blend goes on learning, from votes and from what it and the
teacher say of the very crops), ``patience`` (more of the same, from all three), ``polish`` (again, at a lower rate and
with nearly all stills), ``finish`` (once more, from four), ``average`` (the mean of the weights in which the last three
ended), ``head`` (on features of the frozen encoder), ``bundle`` (export, measure through the exported graphs, card),
``calibrate`` (``dfer-stream score`` of the dev faces, then ``dfer-calibrate fit``, each as a user would run it).
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file

from engine.backends import open_backend
from engine.spec import SEVEN_CLASSES
from train.data.augment.compose import build_bank
from train.data.layouts.ferplus import FacesError, Stills, hold_out, load_split
from train.default_model import measure
from train.default_model.card import licences, write_card
from train.default_model.checkpoint import CheckpointError, average_ends, blend_runs, read_classifier, write_tensors
from train.default_model.head import FrameMean, HeadConfig, assemble, head_parameters, rarity_bias, train_head
from train.default_model.recipe import BLEND, ENDS, FIRST, LESSONS, PRETRAINED, SECOND, STAGES, Lesson
from train.default_model.ship import ShipError, complete, read_model, save_head, ship
from train.models.compact.grow import GrowError
from train.models.compact.pretrained import REMEDY, PretrainedError, read_graph


def choose_faces(stills: Stills, count: int, seed: int) -> Stills:
    """At most ``count`` voted stills for the bank: every still of a rare class, and of the rest a random part."""
    voted = stills.seven.sum(1) > 0
    stills = stills.select(voted & ~hold_out(stills, 0.05))
    rare = np.isin(stills.plurality, [2, -1], invert=True)
    order = np.random.default_rng(seed).permutation(len(stills))
    keep = np.sort(np.concatenate([order[rare[order]][: count * 2 // 3], order[~rare[order]][: count // 3]]))
    names = stills.seven.argmax(1)
    always = np.flatnonzero(np.isin(names, [5, 6]))
    return stills.select(np.union1d(keep, always))


def train_window_head(given: argparse.Namespace) -> None:
    """Stage ``head``."""
    classifier, _ = read_classifier(given.run / "last.safetensors")
    stills = load_split(given.data, "train", given.cache)
    faces = choose_faces(stills, given.faces, given.head_seed)
    size = classifier.encoder.config.size_px
    bank = build_bank(classifier, faces, size, given.views, given.views, given.faces // 3, given.head_seed)
    model = assemble(classifier.encoder, size)
    config = HeadConfig(seed=given.head_seed, steps=given.steps)
    train_head(model, bank, classifier.classify, config)
    save_head(model, given.run / "head.safetensors")
    (given.run / "head.json").write_text(json.dumps(asdict(config)), "utf-8")
    count = sum(p.numel() for p in head_parameters(model))
    torch.manual_seed(given.head_seed)
    baseline = FrameMean(classifier.encoder.config.feature, len(SEVEN_CLASSES), count)
    train_head(baseline, bank, classifier.classify, config)
    write_tensors(given.run / "baseline.safetensors", baseline.state_dict())


def make_bundle(given: argparse.Namespace) -> None:
    """Stage ``bundle``."""
    checkpoint = given.run / "last.safetensors"
    bias = rarity_bias(load_split(given.data, "train", given.cache), given.raise_rare, given.even_out)
    model, record = read_model(checkpoint, given.run / "head.safetensors", bias)
    classifier, _ = read_classifier(checkpoint)
    parameters = {"encoder": model.encoder, "head": model.window_head, "text": model.text}
    count = {name: sum(p.numel() for p in part.parameters()) for name, part in parameters.items()}
    provenance = {
        "encoder": {k: v for k, v in record.items() if k != "history"},
        "head": json.loads((given.run / "head.json").read_text("utf-8")),
        "data_sha256": record["data_sha256"],
        "encoder_parameters": count["encoder"],
        "head_parameters": count["head"] + count["text"],
        "candidates": given.candidates,
        "raise_rare": given.raise_rare,
        "even_out": given.even_out,
        "licence": " ".join(licences(record)),
    }
    bundle = ship(model, given.out, provenance)
    dev = load_split(given.data, "dev", given.cache)
    dev = dev.select(dev.usable)
    backend = open_backend(bundle, threads=1)
    logits = measure.still_logits(backend, measure.still_crops(dev, bundle.spec.crop), bundle.spec.window)
    figures = {
        "dev": measure.accuracy(logits, dev.plurality, bundle.spec.labels),
        "crop_ms": measure.crop_ms(backend, bundle.spec.crop.size_px),
        "crop_ms_where": f"{backend.name}, {backend.precision}",
    }
    backend.close()
    bank = build_bank(classifier, dev, bundle.spec.crop.size_px, given.views, given.views, 16, 0)
    # The same adjustment on both sides: the comparison is about time, not about rare classes.
    baseline = FrameMean(bundle.spec.feature, len(bundle.spec.labels), count["head"] + count["text"], bias)
    baseline.load_state_dict(load_file(given.run / "baseline.safetensors"))
    figures["composed"] = measure.noise_report(model, baseline, bank, given.clip_seeds)
    complete(bundle, figures, write_card(bundle.spec.labels, provenance, figures))
    print(json.dumps(figures, indent=1))


def take(lesson: Lesson, given: argparse.Namespace) -> int:
    """One run of :mod:`train.default_model.fit`; its exit code."""
    options = ["--data", given.data, "--cache", given.cache, "--out", given.run / lesson.folder, *lesson.settings]
    epochs = max(round(lesson.epochs * given.length), 1)
    options += ["--minutes", str(given.minutes), "--epochs", str(epochs), "--seed", str(given.seed)]
    if lesson.folder == PRETRAINED:
        options += ["--pretrained", given.pretrained]
    if lesson.start:
        options += ["--start", given.run / lesson.start / "last.safetensors"]
    if lesson.teachers:
        options += ["--teachers", *(given.run / teacher / "last.safetensors" for teacher in lesson.teachers)]
    return run_module("train.default_model.fit", *options, *(["--compiled"] if given.compiled else []))


def run_module(*command: str | Path) -> int:
    """Run ``python -m`` with these arguments; its exit code."""
    return subprocess.run([sys.executable, "-m", *map(str, command)], check=False).returncode


def calibrate(given: argparse.Namespace) -> int:
    """Stage ``calibrate``; the exit code."""
    rows, dev = given.run / "dev.jsonl", given.data / "dev"
    rows.unlink(missing_ok=True)
    score = ("stream.cli", "score", dev.with_suffix(".zip"), "--faces", "--bundle", given.out, "--out", rows)
    fit: tuple[str | Path, ...] = (
        "calibration.cli",
        "fit",
        given.out,
        rows,
        "--truth",
        dev.with_suffix(".csv"),
        "--group",
        "twin_cluster",
    )
    fit += ("--where", "first_of_cluster=1", "--risk", "0.1", "--method", "temperature")
    return run_module(*score) or run_module(*fit)


def main(arguments: list[str] | None = None) -> int:
    """Run the stages."""
    parser = argparse.ArgumentParser(prog="python -m train.default_model", description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder with FER+'s train.zip, dev.zip and tables")
    parser.add_argument("--cache", type=Path, default=Path(".cache/compact"))
    parser.add_argument("--run", type=Path, default=Path("runs/compact"), help="folder of checkpoints")
    parser.add_argument("--out", type=Path, default=Path("stream/default_model"), help="the bundle")
    parser.add_argument("--stages", nargs="+", choices=STAGES, default=list(STAGES))
    parser.add_argument(
        "--pretrained", type=Path, help="folder with a network that knows faces, for the teacher; "
        "train/models/compact/pretrained.py says which and how to get it",
    )  # fmt: skip
    parser.add_argument("--minutes", type=float, default=0.0, help="time for each run of the encoder; 0: by passes")
    parser.add_argument("--length", type=float, default=1.0, help="factor on each run's passes; 0.05 for a try")
    parser.add_argument("--blend", type=float, default=0.2, help="share of the deepened run in the blend")
    parser.add_argument(
        "--compiled", action="store_true", help="compile each run's step: takes a C++ compiler and a minute"
    )
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--faces", type=int, default=9000, help="stills in the head's feature bank")
    parser.add_argument("--views", type=int, default=6, help="augmentations of each")
    parser.add_argument("--steps", type=int, default=HeadConfig.steps)
    parser.add_argument("--raise-rare", type=float, default=0.25, help="how far the rare classes are raised (0 to 1)")
    parser.add_argument("--even-out", type=float, default=0.085, help="how far the common classes are evened out")
    parser.add_argument("--head-seed", type=int, default=1)
    parser.add_argument("--clip-seeds", type=int, default=5, help="composed clips per dev face when measuring")
    parser.add_argument("--candidates", type=int, default=1, help="how many candidates were compared on dev")
    given = parser.parse_args(arguments)
    try:
        if "teacher" in given.stages:
            # Refused here rather than after the hours that the stages before it take.
            if given.pretrained is None:
                raise PretrainedError(f"the teacher needs --pretrained: {REMEDY}")
            read_graph(given.pretrained)
        for stage in (stage for stage in STAGES if stage in given.stages):
            if any(take(lesson, given) for lesson in LESSONS if lesson.stage == stage):
                return 1
            if stage == "blend":
                blend_runs(given.run / FIRST, given.run / SECOND, given.blend, given.run / BLEND)
            if stage == "average":
                average_ends([given.run / folder for folder in ENDS], list(ENDS.values()), given.run)
        torch.manual_seed(given.head_seed)
        if "head" in given.stages:
            train_window_head(given)
        if "bundle" in given.stages:
            make_bundle(given)
        if "calibrate" in given.stages and calibrate(given):
            return 1
    except (CheckpointError, FacesError, GrowError, PretrainedError, ShipError) as error:
        print(f"train.default_model: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("train.default_model: stopped; --stages goes on with the stage in hand", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
