"""The newcomer's way: the README's commands on a folder with everything planted that goes wrong with folders."""

import csv
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.train.own_clips import PLANTED, write_folder
from train.cli import main

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "train" / "README.md").read_text("utf-8")


def rows(path: Path) -> list[dict[str, str]]:
    with path.open() as file:
        return list(csv.DictReader(file))


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_the_readmes_commands_lead_from_a_faulty_folder_to_a_calibrated_daemon(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    clips = write_folder(tmp_path / "clips")
    assert main(["inspect-data", str(clips), "--out", str(tmp_path / "parts")]) == 2
    said = " ".join("".join(capsys.readouterr()).split())
    for fault in ("unknown class", "broken file", "one clip twice"):
        name = PLANTED[fault]
        assert (Path(name).parts[0] if fault == "unknown class" else name) in said, fault
    assert "notes.txt" in said
    assert not (tmp_path / "parts").exists()

    (clips / "dataset.toml").write_text('[classes]\ngleeful = "happiness"\n')
    found = re.search(r"Own clips, .*?```sh\n(.*?)```", README, re.DOTALL)
    assert found is not None
    functions = f"""
python={sys.executable}
dfer-train() {{
  if [ "$1" = fit ]; then set -- "$@" --device cpu --set loop.epochs=1 --set loop.batch=16 --set data.workers=0; fi
  "$python" -m train.cli "$@"
}}
dfer-calibrate() {{ "$python" -m calibration.cli "$@" || exit 1; }}
dfer-stream() {{
  if [ "$1" = run ]; then set -- "$@" --source demo:// --frames 20 --json --bind ipc://{tmp_path}/daemon.ipc; fi
  "$python" -m stream.cli "$@"
}}
"""
    done = subprocess.run(
        ["bash", "-c", functions + found[1].replace("stream/default_model", str(ROOT / "stream/default_model"))],
        cwd=tmp_path, capture_output=True, text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    assert "Traceback" not in done.stderr
    assert "Warning" not in done.stderr
    for told in ("curves: tensorboard --logdir", "best so far", "clips"):
        assert told in done.stderr

    parts = ("train", "val", "test")
    cut = [row for part in parts for row in rows(tmp_path / f"prepared/{part}.csv")]
    failed = {row["name"]: row["problem"] for part in parts for row in rows(tmp_path / f"prepared/{part}-failed.csv")}
    videos = [path for path in clips.rglob("*.mp4") if path.name != "broken.mp4"]
    assert len(cut) + len(failed) == len(videos), "nothing vanishes"
    problems = {
        fault: next((p for n, p in failed.items() if n.endswith(where)), "") for fault, where in PLANTED.items()
    }
    assert "turned by 180° there is one: ffmpeg -display_rotation 180" in problems["upside down"]
    assert problems["nothing of a face"] == "no face was found"
    assert problems["turned by the player"] == "", "it is cut as it is shown"

    messages = [json.loads(line) for line in done.stdout.splitlines() if line.startswith('{"source"')]
    assert len(messages) == 20
    assert all(message["model"]["calibration"] for message in messages)

    train, test = (tmp_path / f"parts/{part}.csv" for part in ("train", "test"))
    header, first = train.read_text().splitlines()[:2]
    kept = test.read_text()
    for line, words in (
        (first, "are in train and in test"),
        (f"{clips}/{PLANTED['one clip twice']},sadness,someone", "shows the same as"),
    ):
        test.write_text(f"{header}\n{line}\n")
        listed = [row["path"] for part in ("train", "val") for row in rows(tmp_path / f"parts/{part}.csv")]
        if words == "shows the same as" and not any(path.endswith("sad/p4/0.mp4") for path in listed):
            continue  # both copies were dealt to the test part
        code = main(["fit", "--data", str(tmp_path / "parts"), "--set", "data.source=clips", "--encoder", "tiny",
                     "--device", "cpu", "--out", str(tmp_path / "refused")])  # fmt: skip
        assert code == 2
        assert words in capsys.readouterr().err
    test.write_text(kept)
