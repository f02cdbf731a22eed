"""Checkpoints on a disk that takes no more: one line, and what stood there before is whole."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from engine.errors import DferError
from train.training.checkpoint import load_tensors, save_tensors

# A limit on the size of files stands for a full disk: the writer meets the same refusal, in the middle of the file.
FULL = """
import resource, sys
from pathlib import Path
import torch
from engine.errors import DferError
from engine.files import write_text
from train.training.checkpoint import save_tensors

resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
folder = Path(sys.argv[1])
for write in (
    lambda: save_tensors(folder / "last.safetensors", {"x": torch.ones(50_000)}, {"epoch": 2}),
    lambda: write_text(folder / "last.txt", "2" * 200_000),
):
    try:
        write()
    except DferError as error:
        print(error)
"""


def test_a_full_disk_leaves_the_checkpoint_before(tmp_path: Path) -> None:
    save_tensors(tmp_path / "last.safetensors", {"x": torch.zeros(50_000)}, {"epoch": 1})
    done = subprocess.run(
        [sys.executable, "-c", FULL, str(tmp_path)], capture_output=True, text=True, timeout=120, check=True
    )
    weights, text = done.stdout.splitlines()
    assert weights.startswith(f"cannot write {tmp_path / 'last.safetensors'}: ")
    assert text.startswith(f"cannot write {tmp_path / 'last.txt'}: File too large")
    assert all(line.endswith("what stood there before is whole") for line in (weights, text))
    tensors, facts = load_tensors(tmp_path / "last.safetensors")
    assert facts == {"epoch": 1}
    assert not tensors["x"].any()
    assert [path.name for path in tmp_path.iterdir()] == ["last.safetensors"]


def test_a_folder_that_is_a_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "run").write_text("", "utf-8")
    with pytest.raises(DferError, match="cannot write .*run/last.safetensors"):
        save_tensors(tmp_path / "run" / "last.safetensors", {"x": torch.zeros(1)}, {})
