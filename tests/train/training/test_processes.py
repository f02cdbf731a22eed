"""Whole runs as processes: two of them against one, and one that is killed."""

import json
import os
import random
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import torch

from train.training.checkpoint import load_tensors

FIT = [
    "-m", "train.cli", "fit", "--source", "synthetic", "--encoder", "tiny", "--device", "cpu", "--quiet",
    "--set", "data.clips=28", "--set", "data.workers=0", "--set", "data.validation=0.25",
    "--set", "model.options={frames = 8, heads = 2, head_width = 16, temperature = 0.1}",
    "--set", "optim.lr=1e-3", "--set", "loop.batch=4",
]  # fmt: skip
ROOT = Path(__file__).resolve().parents[3]


def environment() -> dict[str, str]:
    # One thread each: what is compared is sums in the same order, and the machine is small.
    return {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}


def weights(out: Path, name: str = "last.safetensors") -> dict[str, torch.Tensor]:
    return load_tensors(out / name)[0]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def test_two_processes_give_the_parameters_of_one_with_the_doubled_batch(tmp_path: Path) -> None:
    # Random contexts of 0.02 and V^P's norm can each make a gradient near-singular: one process with weights moved by
    # 1e-8 then ends 2e-4 away too. Label embeddings without V^P keep rounding at rounding.
    settings = ["--set", "loop.epochs=2", "--set", "optim.name=sgd", "--set", "model.text_side=labels"]
    settings += ["--set", "model.options.visual_prompt=none"]
    subprocess.run(
        [sys.executable, *FIT, *settings, "--out", str(tmp_path / "one")], check=True, env=environment(), cwd=ROOT
    )
    launcher = ["-m", "torch.distributed.run", "--nproc-per-node=2", f"--master-port={free_port()}"]
    subprocess.run(
        [sys.executable, *launcher, *FIT, *settings, "--out", str(tmp_path / "two")],
        check=True, env=environment(), cwd=ROOT, capture_output=True,
    )  # fmt: skip
    one, two = weights(tmp_path / "one"), weights(tmp_path / "two")
    assert one.keys() == two.keys()
    for name in one:
        assert torch.allclose(one[name], two[name], atol=2e-6, rtol=1e-4), name
    histories = [json.loads((tmp_path / n / "history.json").read_text()) for n in ("one", "two")]
    for a, b in zip(*histories, strict=True):
        assert abs(a["loss_total"] - b["loss_total"]) < 1e-3
        assert a["war"] == b["war"]


def test_kill_at_a_random_step_and_resume_gives_the_same_weights(tmp_path: Path) -> None:
    settings = ["--set", "loop.epochs=4", "--set", "loop.save_steps=1", "--set", "loop.ema=0.9"]
    subprocess.run(
        [sys.executable, *FIT, *settings, "--out", str(tmp_path / "whole")], check=True, env=environment(), cwd=ROOT
    )
    broken = [sys.executable, *FIT, *settings, "--out", str(tmp_path / "broken")]
    process = subprocess.Popen(broken, env=environment(), cwd=ROOT)
    state = tmp_path / "broken" / "state.safetensors"
    deadline = time.monotonic() + 120
    wanted = random.randrange(1, 12)
    seen, last = 0, -1
    while seen < wanted and process.poll() is None and time.monotonic() < deadline:
        stamp = state.stat().st_mtime_ns if state.exists() else -1
        seen, last = seen + (stamp != last and stamp != -1), stamp
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL, "the run ended before it could be killed"
    facts = load_tensors(state)[1]["progress"]
    assert facts["epoch"] * 5 + facts["step"] < 20
    subprocess.run([*broken, "--resume"], check=True, env=environment(), cwd=ROOT)
    for name in ("last.safetensors", "best.safetensors", "state.safetensors"):
        whole, resumed = weights(tmp_path / "whole", name), weights(tmp_path / "broken", name)
        assert whole.keys() == resumed.keys()
        for key in whole:
            assert torch.equal(whole[key], resumed[key]), (wanted, name, key)
    left = [p.name for p in (tmp_path / "broken").iterdir() if p.name.startswith(".")]
    assert len(left) <= 1, "at most the file being written when killed"
