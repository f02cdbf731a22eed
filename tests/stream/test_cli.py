from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from stream.cli import PROGRAM, main

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("command", sorted(PROGRAM.commands))
def test_help_teaches_every_command(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main([command, "--help"])
    assert ended.value.code == 0
    shown = capsys.readouterr().out
    assert "example: dfer-stream" in shown
    assert len(shown.splitlines()) > 5


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["run", "--sorce", "x"], "did you mean --source?"),
        (["run", "--model.bundl", "x"], "did you mean --model.bundle?"),
        (["run", "--qqqqqq"], "--help lists what there is"),
    ],
)
def test_unknown_arguments_are_refused_with_the_nearest_one(
    arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 2
    assert words in capsys.readouterr().err


def test_a_listener_does_not_wait_for_a_model_runtime() -> None:
    code = (
        "import sys\n"
        "from stream.cli import main\n"
        "try: main(['listen', '--help'])\n"
        "except SystemExit: pass\n"
        "print([name for name in ('openvino', 'onnxruntime', 'torch', 'cv2') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
