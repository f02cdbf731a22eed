"""``dfer-stream``: the daemon and what helps to run it."""

from __future__ import annotations

import sys

from engine.console import Command, Program

PROGRAM = Program(
    "dfer-stream",
    "Real-time facial expression scores from a camera, published over ZeroMQ.",
    {
        "run": Command(
            "stream.commands.run", "read a camera or file, publish scores", "dfer-stream run --source demo://"
        ),
        "score": Command(
            "stream.commands.score", "score videos, images and zips of faces to rows", "dfer-stream score clips/"
        ),
        "view": Command("stream.apps.view.command", "serve a live page for the browser", "dfer-stream view --demo"),
        "listen": Command("stream.commands.listen", "show what a subscriber receives", "dfer-stream listen"),
        "driver": Command(
            "stream.apps.driver.command",
            "judge a driver's attention and drowsiness from the messages",
            "dfer-stream driver --replay drive.jsonl --timeline drive.png",
        ),
        "bridge": Command(
            "stream.apps.bridge.command", "carry messages on to other systems", "dfer-stream bridge mqtt"
        ),
        "capture": Command(
            "stream.commands.capture",
            "keep aligned crops of your own face, after asking",
            "dfer-stream capture me.npz",
        ),
        "record": Command("stream.commands.record", "keep messages in MCAP files", "dfer-stream record ride.mcap"),
        "replay": Command(
            "stream.commands.replay", "publish a recording again, as it was", "dfer-stream replay ride.mcap --speed 2"
        ),
        "export": Command(
            "stream.commands.export",
            "turn a recording into a table, or a file for labs",
            "dfer-stream export ride.mcap scores.csv",
        ),
        "broker": Command(
            "stream.apps.broker.command",
            "collect the messages of several daemons on one endpoint",
            "dfer-stream broker ipc:///run/dferstream/cam0.ipc ipc:///run/dferstream/cam1.ipc "
            "--bind tcp://127.0.0.1:5580",
        ),
        "fleet": Command(
            "stream.apps.fleet.command",
            "write Prometheus's rules and Grafana's board for many daemons",
            "dfer-stream fleet fleet/ box1 box2:9577",
        ),
        "devices": Command("stream.commands.devices", "list cameras", "dfer-stream devices"),
        "doctor": Command("stream.commands.doctor", "say what is missing on this machine", "dfer-stream doctor"),
        "bench": Command(
            "stream.commands.bench",
            "measure speed, latency and memory",
            "dfer-stream bench --json\ndfer-stream bench --source file:///path/to/clip.mp4",
        ),
        "config": Command("stream.commands.config", "print or check settings", "dfer-stream config show"),
        "keys": Command(
            "stream.commands.keys", "make CURVE keys for publishing beyond this machine", "dfer-stream keys robot1"
        ),
    },
)
"""The commands, in the order a newcomer needs them."""

main = PROGRAM.main

if __name__ == "__main__":
    sys.exit(main())
