"""``dfer-train``: data, training, evaluation, export, and the default model on one command line."""

from __future__ import annotations

import sys

from engine.console import Command, Program

PROGRAM = Program(
    "dfer-train",
    "Train, evaluate and export expression models.",
    {
        "fit": Command(
            "train.commands.fit",
            "train a model",
            "dfer-train fit --source dfew --data /data/DFEW --weights openai/clip-vit-base-patch32 --out runs/dfew",
        ),
        "evaluate": Command(
            "train.commands.evaluate", "measure trained runs and write an HTML report", "dfer-train evaluate runs/dfew"
        ),
        "inspect-data": Command(
            "train.commands.inspect_data",
            "look at a folder of clips before training, and deal it into parts that share nobody",
            "dfer-train inspect-data clips/ --out parts",
        ),
        "prepare": Command(
            "train.commands.prepare",
            "cut faces out of raw videos as the daemon does",
            "dfer-train prepare videos/ --out clips",
        ),
        "table": Command(
            "train.commands.table", "run an ablation table of a paper beside its figures", "dfer-train table 3 --list"
        ),
        "default-model": Command(
            "train.commands.default_model",
            "make the model that stands in the package, from its data to its bundle",
            "dfer-train default-model --data FER+ --pretrained human-models/models",
        ),
        "probes": Command(
            "train.commands.probes",
            "figures of a bundle on faces as they are, masked, blurred, badly lit: the protocol's table",
            "dfer-train probes stream/default_model --data FER+ --part choose",
        ),
        "inspect": Command(
            "train.commands.inspect",
            "parameters, multiply-adds, shapes and memory of a configuration",
            "dfer-train inspect dk-clip --set snippets=8",
        ),
        "bench": Command(
            "train.commands.bench",
            "clips per second and peak memory of a training step",
            "dfer-train bench --model clip-guided --encoder tiny",
        ),
        "random-bundle": Command(
            "train.commands.random_bundle",
            "a bundle with random weights, for trying the daemon",
            "dfer-train random-bundle tg-dfer bundles/random --encoder tiny",
        ),
        "export": Command(
            "train.commands.export", "write a trained run as a bundle", "dfer-train export runs/dfew --out bundles/dfew"
        ),
        "synth": Command(
            "train.commands.synth",
            "write synthetic clips with frame truth to the disk",
            "dfer-train synth clips --clips 140",
        ),
    },
)
"""The commands, in the order of the work."""

main = PROGRAM.main

if __name__ == "__main__":
    sys.exit(main())
