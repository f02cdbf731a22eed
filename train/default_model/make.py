"""The default model from its data to its bundle, stage by stage; ``dfer-train default-model`` is its command.

The encoder's stages stand in ``recipe.toml``. Then ``head`` (trained on features of the frozen encoder), ``bundle``
(export, measure through the exported graphs), ``calibrate`` (``dfer-stream score`` of the dev faces, then
``dfer-calibrate fit``, each as a user would run it) and ``card`` (the protocol's figures of the calibrated bundle).
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from engine.backends import open_backend
from engine.bundle import Bundle
from engine.console import Exit
from engine.spec import SEVEN_CLASSES
from train.data.augment.compose import build_bank
from train.data.layouts.ferplus import Stills, hold_out, load_split
from train.default_model import measure
from train.default_model.card import licences, measured_again, write_card
from train.default_model.head import FrameMean, assemble, head_parameters, rarity_bias
from train.default_model.head_training import HeadConfig, train_head
from train.default_model.judge import judge, read_part
from train.default_model.recipe import FILES, MakeSettings, Recipe, StageConfig, read_recipe, read_stage
from train.default_model.ship import complete, read_model, ship
from train.default_model.stage import Stage, train_stage
from train.default_model.unpack import unpack
from train.default_model.weights import FILE, lineage, read_run, write_average, write_blend
from train.models.compact.pretrained import REMEDY, PretrainedError, read_graph
from train.training.checkpoint import load_tensors
from train.training.distributed import check_compiler, choose_device, launch


def make(given: MakeSettings, stages: Sequence[str], assignments: Sequence[str] = ()) -> int:
    """Run stages, in their order whatever the order they are named in.

    Args:
        given: From where, to where and how long.
        stages: Names.
        assignments: ``key=value`` over the recipes of all runs.

    Returns:
        An :class:`~engine.console.Exit` code.

    Raises:
        DferError: Where data, weights or settings cannot be used.
    """
    recipe = read_recipe()
    runs = {name: _config(name, given, assignments) for name in recipe.stages if name in stages and name in FILES}
    if any(name in recipe.pretrained for name in runs):
        # Refused here rather than after the hours that the stages before it take.
        if given.pretrained is None:
            raise PretrainedError("the teacher needs --pretrained", REMEDY)
        read_graph(given.pretrained)
    if any(config.loop.compiled for config in runs.values()):
        check_compiler(choose_device(given.device))
    if given.unpack is not None and not (given.run / "average" / FILE).is_file():
        unpack(given, load_split(given.data, "train", given.cache), "average")
    for name in (name for name in recipe.stages if name in stages):
        if name in runs:
            if not _run(name, runs[name], recipe, given):
                again = f"the same command goes on from the last whole epoch in {given.run / name}"
                print(f"dfer-train default-model: stopped; {again}", file=sys.stderr)
                return Exit.INTERRUPTED
        elif name == "blend":
            shallow, deep = recipe.blend
            share = recipe.blend[deep] if given.blend is None else given.blend
            write_blend(read_run(given.run / shallow), read_run(given.run / deep), share, given.run / name)
        else:
            ends = [read_run(given.run / end) for end in recipe.average]
            write_average(ends, list(recipe.average.values()), given.run / name)
    encoder = given.run / recipe.stages[-1]
    torch.manual_seed(given.head_seed)
    if "head" in stages:
        make_head(given, encoder)
    if "bundle" in stages:
        make_bundle(given, encoder)
    if "calibrate" in stages and (code := calibrate(given)):
        return code
    if "card" in stages:
        make_card(given)
    return Exit.DONE


def _config(name: str, given: MakeSettings, assignments: Sequence[str]) -> StageConfig:
    config = read_stage(name, assignments)
    loop = config.loop
    changed = replace(
        loop,
        epochs=max(round(loop.epochs * given.length), 1),
        minutes=given.minutes or loop.minutes,
        seed=loop.seed if given.seed is None else given.seed,
        compiled=loop.compiled or given.compiled,
    )
    return replace(config, loop=changed)


def _run(name: str, config: StageConfig, recipe: Recipe, given: MakeSettings) -> bool:
    """Train one run; whether it came to its end."""
    device = choose_device(given.device)
    world = given.procs or (min(os.cpu_count() or 1, 4) if device.type == "cpu" else 1)
    start = given.run / recipe.start[name] if name in recipe.start else None
    teachers = tuple(given.run / teacher for teacher in recipe.teachers.get(name, ()))
    pretrained = given.pretrained if name in recipe.pretrained else None
    # Landmarks are looked for once, before there are processes; and what is missing is said before it.
    load_split(given.data, "train", given.cache)
    stage = Stage(config, given.data, given.cache, given.run / name, start, teachers, pretrained)
    try:
        return launch(train_stage, stage, world, device)
    except KeyboardInterrupt:
        # Its processes were told, too, and end by themselves.
        return False


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


def make_head(given: MakeSettings, encoder: Path) -> None:
    """Stage ``head``."""
    classifier = read_run(encoder).classifier()
    stills = load_split(given.data, "train", given.cache)
    faces = choose_faces(stills, given.faces, given.head_seed)
    size = classifier.encoder.config.size_px
    bank = build_bank(classifier, faces, size, given.views, given.views, given.faces // 3, given.head_seed)
    model = assemble(classifier.encoder, size)
    config = HeadConfig(seed=given.head_seed, steps=given.steps)
    train_head(model, bank, classifier.classify, config, given.run / "head")
    count = sum(p.numel() for p in head_parameters(model))
    torch.manual_seed(given.head_seed)
    baseline = FrameMean(classifier.encoder.config.feature, len(SEVEN_CLASSES), count)
    train_head(baseline, bank, classifier.classify, config, given.run / "baseline")


def make_bundle(given: MakeSettings, encoder: Path) -> None:
    """Stage ``bundle``."""
    bias = rarity_bias(load_split(given.data, "train", given.cache), given.raise_rare, given.even_out)
    trained = read_run(encoder)
    model, head = read_model(trained.classifier(), given.run / "head" / FILE, bias)
    parameters = {"encoder": model.encoder, "head": model.window_head, "text": model.text}
    count = {name: sum(p.numel() for p in part.parameters()) for name, part in parameters.items()}
    family = lineage(trained, given.run)
    provenance = {
        "encoder": {name: trained.record[name] for name in ("config", "shape", "data_sha256")},
        "lineage": family,
        "head": head,
        "data_sha256": trained.record["data_sha256"],
        "encoder_parameters": count["encoder"],
        "head_parameters": count["head"] + count["text"],
        "candidates": given.candidates,
        "raise_rare": given.raise_rare,
        "even_out": given.even_out,
        "licence": " ".join(licences(family)),
    }
    if given.unpack is not None and (note := Bundle.open(given.unpack).provenance.get("lineage_note")):
        provenance["lineage_note"] = note
    bundle = ship(model, given.out, provenance)
    dev = load_split(given.data, "dev", given.cache)
    dev = dev.select(dev.usable)
    backend = open_backend(bundle, threads=1)
    logits = measure.still_logits(backend, measure.still_crops(dev, bundle.spec.crop), bundle.spec.window)
    figures = {
        "dev": measure.accuracy(logits, dev.plurality, bundle.spec.labels),
        "crop_ms": measure.crop_ms(backend, bundle.spec.crop.size_px),
        "crop_ms_where": f"{backend.name}, {backend.precision}",
        # An unpacked head has no baseline to be held against.
        "composed": {},
    }
    backend.close()
    if given.unpack is None:
        bank = build_bank(trained.classifier(), dev, bundle.spec.crop.size_px, given.views, given.views, 16, 0)
        # The same adjustment on both sides: the comparison is about time, not about rare classes.
        baseline = FrameMean(bundle.spec.feature, len(bundle.spec.labels), count["head"] + count["text"], bias)
        baseline.load_state_dict(load_tensors(given.run / "baseline" / FILE)[0])
        figures["composed"] = measure.noise_report(model, baseline, bank, given.clip_seeds)
    complete(bundle, figures, write_card(bundle.spec.labels, provenance, figures))
    print(json.dumps(figures, indent=1))


def make_card(given: MakeSettings) -> None:
    """Stage ``card``: every part's clean faces, and the probes on those that confirm."""
    bundle = Bundle.open(given.out)
    rows: dict[str, Any] = {}
    for part in ("choose", "confirm", "untrained"):
        rows |= {part: judge(bundle, read_part(given.data, part, given.cache), ())["clean"]}
    probes = judge(bundle, read_part(given.data, "confirm", given.cache, given.probed))
    figures = {**bundle.metrics, "parts": rows, "probes": probes}
    card = (bundle.path / "MODEL_CARD.md").read_text("utf-8")
    # The card alone: with them bundle.json, which every daemon reads, would be thrice as long.
    complete(bundle, dict(bundle.metrics), measured_again(card, bundle.spec.labels, figures))


def calibrate(given: MakeSettings) -> int:
    """Stage ``calibrate``; the exit code."""
    rows, dev = given.run / "dev.jsonl", given.data / "dev"
    rows.unlink(missing_ok=True)
    score = ("stream.cli", "score", dev.with_suffix(".zip"), "--faces", "--bundle", given.out, "--out", rows)
    fit = ("calibration.cli", "fit", given.out, rows, "--truth", dev.with_suffix(".csv"), "--group", "twin_cluster")
    how = ("--where", "first_of_cluster=1", "--risk", "0.1", "--method", "temperature")
    for command in (score, (*fit, *how)):
        if subprocess.run([sys.executable, "-m", *map(str, command)], check=False).returncode:
            return Exit.PARTLY
    return Exit.DONE
