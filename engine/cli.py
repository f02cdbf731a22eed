"""``dfer-engine``: bundles to engines, proven on this machine."""

from __future__ import annotations

import sys

from engine.console import Command, Program

PROGRAM = Program(
    "dfer-engine",
    """\
Turns a bundle (a trained model, made by dfer-train) into the fastest correct thing for this machine.

A bundle runs as it is (dfer-stream run --bundle); an engine directory is needed for TensorRT and INT8, and records
that this very machine reproduced the bundle's golden vectors (dfer-stream run --engine).""",
    {
        "build": Command(
            "engine.commands.build",
            "build an engine directory; it appears only if the gate passes on this device",
            """\
dfer-engine build model car.engine
dfer-engine build model car.engine --backend tensorrt --timing-cache /var/cache/dferstream/timing
dfer-engine build model small.engine --precision int8 --crops crops.npz

Without --backend and --precision it takes the first back end that runs here and the fastest of its precisions that
passes the gate, and prints why. The gate: 256 golden windows, probabilities within --max-delta of FP32, --top1 of the
classes equal. An engine that fails it is not written.""",
        ),
        "verify": Command(
            "engine.commands.verify",
            "check every file of a bundle or engine directory and run its golden vectors",
            """\
dfer-engine verify car.engine && systemctl restart dferstream@cam0
dfer-engine verify copied.engine --adopt         after build --hardware-compatible or --version-compatible

Exit status 0 means: no byte was altered, the directory was made for this machine, and it still answers as FP32 does.
An engine of another machine is refused; --adopt runs the gate here instead and, if it passes, records this machine.""",
        ),
        "bench": Command(
            "engine.commands.bench",
            "measure encode, ring and head per step, beside floors and the naive recompute",
            """\
dfer-engine bench car.engine
dfer-engine bench model --backend onnxruntime --threads 1 --batches 1,4 --json > onnxruntime.json

The floor is what the hardware cannot beat: the weights read once, or the multiply-adds at the measured peak, whichever
is longer. encode/floor says how far from it the encoder is; 'recomputing' is what every step would cost without a
ring.""",
        ),
        "inspect": Command(
            "engine.commands.inspect",
            "say what a bundle, an engine directory or an ONNX graph is",
            "dfer-engine inspect car.engine",
        ),
        "export": Command(
            "engine.commands.export",
            "rewrite a bundle's graphs for another runtime and check them against the rules",
            """\
dfer-engine export model half                    mixed FP16, batch 1-8
dfer-engine export model fixed --batch 1 --precision fp32
dfer-engine export gpu.engine repository --triton --batch 8

For runtimes that dfer-engine build does not know. FP16 is mixed: LayerNorm, the residual stream and the scores stay in
FP32. The graphs are rounded to half after every node and held against FP32 before they appear.""",
        ),
    },
)
"""The commands, in the order a newcomer needs them."""

main = PROGRAM.main

if __name__ == "__main__":
    sys.exit(main())
