"""``dfer-calibrate``: make a bundle's scores mean what they say."""

from __future__ import annotations

import sys

from engine.console import Command, Program

PROGRAM = Program(
    "dfer-calibrate",
    "Make a bundle's scores mean what they say.",
    {
        "fit": Command(
            "calibration.commands.fit",
            "fit to held-out logits and store the calibration in the bundle",
            "dfer-calibrate fit model scores.jsonl --truth dev.csv",
        ),
        "report": Command(
            "calibration.commands.report",
            "measure without changing the bundle, with pictures",
            "dfer-calibrate report model scores.jsonl --truth dev.csv --out report",
        ),
        "dynamic": Command(
            "calibration.commands.dynamic",
            "measure how quick, right and calm labels are on marked clips",
            "dfer-calibrate dynamic segments.csv scores.jsonl peer.jsonl",
        ),
        "apply": Command(
            "calibration.commands.apply",
            "store a calibration.json made elsewhere for the same classes",
            "dfer-calibrate apply model calibration.json",
        ),
        "remove": Command(
            "calibration.commands.remove",
            "take the calibration out again: plain softmax, no abstention",
            "dfer-calibrate remove model",
        ),
    },
)
"""The commands, in the order a newcomer needs them."""

main = PROGRAM.main

if __name__ == "__main__":
    sys.exit(main())
