"""The commands of train/README.md, from DFEW on the disk to a running daemon, run as they stand there.

Only what the machine lacks is put in their place: a generated DFEW tree, a CLIP with random weights, two folds of one
epoch, and the demo clip for a camera.
"""

import csv
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import cv2
import pytest
from transformers import CLIPConfig, CLIPModel

from train.data.layouts.synthetic import SyntheticClips, SyntheticSettings
from train.models.clip.size import SIZES

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "train" / "README.md").read_text("utf-8")
DFEW_LABELS = ("happiness", "sadness", "neutral", "anger", "surprise", "disgust", "fear")
FOLDS = "1 2 3 4 5"


def write_dfew(root: Path, clips: int) -> None:
    """Clips in DFEW's layout, dealt to five folds."""
    drawn = SyntheticClips(SyntheticSettings(clips=clips, identities=clips, frames=10, noise=0.25, seed=9))
    rows = []
    for i in range(clips):
        folder = root / "Clip" / "clip_224x224" / f"{i + 1:05d}"
        folder.mkdir(parents=True)
        for k, frame in enumerate(drawn[i].frames, start=1):
            cv2.imwrite(str(folder / f"{k}.jpg"), frame[..., ::-1])
        rows.append((i + 1, DFEW_LABELS.index(drawn[i].label) + 1))
    for part in ("train", "test"):
        folder = root / "EmoLabel_DataSplit" / f"{part}(single-labeled)"
        folder.mkdir(parents=True)
        for fold in range(1, 6):
            with (folder / f"set_{fold}.csv").open("w", newline="") as file:
                table = csv.writer(file)
                table.writerow(("video_name", "label"))
                table.writerows(row for i, row in enumerate(rows) if (i % 5 == fold - 1) == (part == "test"))


def write_clip(folder: Path) -> None:
    """A CLIP of the tiny size with random weights and a tokenizer of single characters, as Hugging Face keeps them."""
    size = SIZES["tiny"]
    end = size.vocabulary - 1
    text = {
        "vocab_size": size.vocabulary, "hidden_size": size.text_width, "intermediate_size": 4 * size.text_width,
        "num_hidden_layers": size.text_layers, "num_attention_heads": size.text_heads,
        "max_position_embeddings": size.context, "bos_token_id": end - 1, "eos_token_id": end,
        "hidden_act": "quick_gelu",
    }  # fmt: skip
    vision = {
        "hidden_size": size.width, "intermediate_size": 4 * size.width, "num_hidden_layers": size.layers,
        "num_attention_heads": size.heads, "patch_size": size.patch_px, "image_size": size.image_px,
        "hidden_act": "quick_gelu",
    }  # fmt: skip
    CLIPModel(CLIPConfig(text_config=text, vision_config=vision, projection_dim=size.joint)).save_pretrained(folder)
    letters = [chr(code) for code in range(33, 127)]
    words = [*letters, *(f"{letter}</w>" for letter in letters)]
    words += [f"<fill{i}>" for i in range(size.vocabulary - 2 - len(words))] + ["<|startoftext|>", "<|endoftext|>"]
    (folder / "vocab.json").write_text(json.dumps({word: i for i, word in enumerate(words)}))
    (folder / "merges.txt").write_text("#version: 0.2\n")


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_the_readmes_commands_lead_from_dfew_to_a_running_daemon(tmp_path: Path) -> None:
    found = re.search(r"## From DFEW on the disk to a running daemon\n.*?```sh\n(.*?)```", README, re.DOTALL)
    assert found is not None
    script = found[1]
    for shown, here in (
        ("/data/DFEW", "DFEW"),
        ("openai/clip-vit-base-patch32", "clip"),
        (FOLDS, "1 2"),
        ("{" + FOLDS.replace(" ", ",") + "}", "{1,2}"),
    ):
        assert shown in script
        script = script.replace(shown, here)
    write_dfew(tmp_path / "DFEW", 35)
    write_clip(tmp_path / "clip")
    small = "--encoder tiny --device cpu --quiet --set loop.epochs=1 --set data.workers=0 --set loop.batch=14"
    small += " --set model.options.heads=2 --set data.validation=0.25"
    functions = f"""
set -e
python={sys.executable}
dfer-train() {{
  if [ "$1" = fit ] && [ "$2" != --help ]; then set -- "$@" {small}; fi
  "$python" -m train.cli "$@"
}}
dfer-engine() {{ "$python" -m engine.cli "$@"; }}
dfer-stream() {{ "$python" -m stream.cli "$@" --source demo:// --frames 20 --json --bind ipc://{tmp_path}/daemon.ipc; }}
"""
    done = subprocess.run(
        ["bash", "-c", functions + script], cwd=tmp_path, capture_output=True, text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    assert "2 folds: UAR" in done.stderr
    assert "<h2>Folds</h2>" in (tmp_path / "dfew.html").read_text()
    messages = [json.loads(line) for line in done.stdout.splitlines() if line.startswith('{"source"')]
    assert len(messages) == 20
    assert any(face["probs"] for message in messages for face in message["faces"])
