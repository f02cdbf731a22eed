from __future__ import annotations

import re
from pathlib import Path

import pytest

from engine.settings import entries, load
from stream.cli import main
from stream.config import Settings


def test_show_prints_a_file_that_gives_the_same_settings_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    argv = ["--roi=0.1,0.2,0.5,0.5", "--bind=tcp://127.0.0.1:*", "--scores.calm.abstain-below=0.5", "--bundle=/a b/c"]
    assert main(["config", "show", *argv]) == 0
    out = capsys.readouterr().out
    file = tmp_path / "config.toml"
    file.write_text(out)
    again = load(Settings, file).settings
    assert again.source.roi == (0.1, 0.2, 0.5, 0.5)
    assert (again.model.bundle, again.scores.calm.abstain_below) == (Path("/a b/c"), 0.5)
    assert '"tcp://127.0.0.1:*"  # flag --publish.bind' in out
    for entry in entries(Settings):
        assert f"# {entry.doc}\n" in out


def test_credentials_are_never_shown(capsys: pytest.CaptureFixture[str]) -> None:
    uri = "rtsp://a.user%40home:pa:ss@word@camera.local/stream"
    for argv in (["--source", uri], ["--json", "--source", uri]):
        assert main(["config", "show", *argv]) == 0
        said = capsys.readouterr()
        assert "camera.local" in said.out
        assert not any(part in said.out + said.err for part in ("pa:ss", "a.user", "@word"))


def test_check_says_ok_or_the_mistake(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "config.toml"
    file.write_text("[faces]\nmax_faces = 4\n")
    assert main(["config", "check", str(file)]) == 0
    assert capsys.readouterr() == (f"{file}: ok\n", "")
    file.write_text("[faces]\nmax_face = 4\n")
    assert main(["config", "check", str(file)]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err == f"dfer-stream config: {file}: unknown setting faces.max_face; did you mean faces.max_faces?\n"


def test_the_table_has_a_row_of_four_cells_for_every_setting(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["config", "table"]) == 0
    rows = capsys.readouterr().out.strip().splitlines()
    assert len(rows) == 2 + len(entries(Settings))
    assert {len(re.split(r"(?<!\\)\|", row)) for row in rows} == {6}
