"""``dfer-train synth``."""

from __future__ import annotations

import argparse
from pathlib import Path

from rich.console import Console
from rich.progress import Progress

from engine.console import Exit


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("out", type=Path, help="folder for frames and CSV files")
    parser.add_argument("--clips", type=int, default=0, help="training clips (data.clips of fit); 0: the committed set")
    parser.add_argument("--noise", type=float, default=0.75, help="share of noise frames, [0, 1)")
    parser.add_argument("--size", type=int, default=32, help="side of a frame, px")


def run(arguments: argparse.Namespace) -> int:
    """Draw both parts and print where their lists are."""
    from train.data.layouts.synthetic import SyntheticClips
    from train.data.parts import synthetic_settings
    from train.data.synthesise import write_synthetic
    from train.settings import DataSettings

    settings = DataSettings(source="synthetic", clips=arguments.clips, noise=arguments.noise, size_px=arguments.size)
    with Progress(console=Console(stderr=True), transient=True) as progress:
        for part in ("train", "test"):
            clips = SyntheticClips(synthetic_settings(settings, part))
            task = progress.add_task(f"drawing {part}", total=len(clips))
            print(write_synthetic(clips, arguments.out, part, lambda t=task: progress.advance(t)))  # type: ignore[misc]
    return Exit.DONE
