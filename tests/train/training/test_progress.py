"""What `fit` shows while it trains."""

import io
from pathlib import Path

from rich.console import Console

from train.training.progress import display


def shown(tmp_path: Path, terminal: bool) -> str:
    console = Console(file=io.StringIO(), force_terminal=terminal, width=140)
    with display(tmp_path, 0, console) as seen:
        for epoch in range(2):
            seen.epoch(epoch, 4, 0, 5)
            for step in range(5):
                seen.step(5 * epoch + step + 1, {"total": 1.0}, 2e-5)
            row = {"epoch": epoch, "loss_total": 0.5, "war": 0.5, "uar": 0.25, "clips": 13}
            seen.end_epoch(row, better=epoch == 0)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_it_says_where_curves_are_and_what_an_epoch_was_worth(tmp_path: Path) -> None:
    said = shown(tmp_path, terminal=False)
    assert f"curves: tensorboard --logdir {tmp_path / 'tensorboard'}" in said
    assert "history.json" in said
    first, second = (line for line in said.splitlines() if line.startswith("epoch "))
    assert first.startswith("epoch 1: loss 0.5000  rate 2.0e-05  WAR 50.00  UAR 25.00 of 13 clips")
    assert first.endswith("best so far")
    assert not second.endswith("best so far")


def test_the_bar_is_of_the_whole_run(tmp_path: Path) -> None:
    said = shown(tmp_path, terminal=True)
    assert "10/20" in said
    assert "epoch 2/4" in said
    assert "loss 1.0000" in said
    assert "rate 2.0e-05" in said
    assert "best in epoch 1" in said
