from __future__ import annotations

from pathlib import Path

import pytest

from stream.cli import main


def test_keys_are_made_once_and_the_command_says_what_to_do_with_them(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "keys"
    assert main(["keys", "robot1", "--directory", str(folder)]) == 0
    secret, public = capsys.readouterr().out.splitlines()
    assert secret.startswith(f"{folder / 'robot1.key_secret'}  keep on this machine")
    assert public.startswith(f"{folder / 'robot1.key'}  give to the other side")
    before = (folder / "robot1.key_secret").read_bytes()
    assert main(["keys", "robot1", "--directory", str(folder)]) == 2
    said = capsys.readouterr().err
    assert said.startswith("dfer-stream keys: ")
    assert said.count("\n") == 1
    assert (folder / "robot1.key_secret").read_bytes() == before
