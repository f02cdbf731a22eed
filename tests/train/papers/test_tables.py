"""The papers' tables: every row builds, figures are the papers', and a table runs and goes on."""

import json
from pathlib import Path

import pytest
import torch
from rich.console import Console

from engine.settings import SettingsError
from train.cli import main
from train.models.registry import configure
from train.papers.run import print_table, row_config, run_table
from train.papers.tables import TABLES, Table, find_table
from train.training.distributed import Processes
from train.training.fit import labels_of

ONE = Processes(0, 1, torch.device("cpu"))
PAPERS = Path(__file__).resolve().parents[3] / ".." / "shared" / "papers"


@pytest.mark.parametrize("table", TABLES, ids=lambda t: f"{t.model}-{t.number}")
def test_every_row_is_configuration_alone(table: Table) -> None:
    for row in table.rows:
        if row.run:
            config = row_config(table, row, table.folds[0], {"data": {"source": "dfew"}}, [])
            built = configure(config.model.name, {**config.model.options, "labels": labels_of(config)})
            assert built.labels == labels_of(config)
            assert config.data.fold == table.folds[0]


def test_the_issues_tables_are_all_there() -> None:
    wanted = {
        "tg-dfer": {"3", "4", "5", "6"}, "dk-clip": {"4", "5", "6", "fig3"}, "clip-guided": {"2", "3", "4", "5"},
    }  # fmt: skip
    for model, numbers in wanted.items():
        assert numbers <= {t.number for t in TABLES if t.model == model}
    assert len(find_table("tg-dfer", "3").rows) == 12
    assert len(find_table("tg-dfer", "Table 4").rows) == 9
    with pytest.raises(SettingsError, match="1, 2, 3, 4, 5, 6"):
        find_table("tg-dfer", "9")


def test_headlines_of_every_data_set_have_what_is_usual_by_now(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "250")
    for model, number, war, newer in (
        ("tg-dfer", "1", 71.62, 76.68), ("tg-dfer", "2", 51.67, 53.65), ("dk-clip", "2", 75.41, 76.68),
        ("dk-clip", "3-mafw", 56.56, 58.44), ("clip-guided", "1", 72.58, 76.68),
        ("clip-guided", "1-ferv39k", 51.83, 53.65), ("clip-guided", "1-mafw", 54.38, 58.44),
    ):  # fmt: skip
        table = find_table(model, number)
        assert war in {row.war for row in table.rows if row.run}
        assert newer in {row.war for row in table.rows if not row.run}
    assert main(["table", "1", "--model", "tg-dfer", "--list"]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "CLAIP-Emo" in said


def test_a_papers_accuracies_by_class_make_its_uar() -> None:
    seen = [row for table in TABLES for row in table.rows if row.recall]
    assert len(seen) >= 7
    for row in seen:
        assert len(row.recall) == 7
        # What they quote of others is not always of the same folds.
        assert sum(row.recall) / 7 == pytest.approx(row.uar, abs=0.02 if row.run else 0.25), row.name


def test_rows_of_one_table_differ_from_each_other() -> None:
    for table in TABLES:
        seen = [json.dumps([dict(r.options), r.encoder, r.influence], sort_keys=True) for r in table.rows if r.run]
        assert len(seen) == len(set(seen)) or table.number == "fig3", table


def test_a_table_trains_its_rows_once_and_prints_them_beside_the_papers(tmp_path: Path) -> None:
    table = find_table("tg-dfer", "6")
    flags = [
        "model.text_side=labels", "model.encoder=tiny", "data.clips=28", "data.workers=0", "loop.epochs=1",
        "loop.batch=7",
        "model.options={frames = 8, heads = 2, head_width = 16}",
    ]  # fmt: skip
    said: list[str] = []
    base = {"data": {"source": "synthetic"}}
    first = run_table(table, base, flags, tmp_path, ONE, folds=[1], only=["highest"], say=said.append)
    # Three rows of Table 6 are read off one training.
    assert len([line for line in said if line.startswith("training")]) == 1
    said.clear()
    again = run_table(table, base, flags, tmp_path, ONE, folds=[1], only=["highest"], say=said.append)
    assert not [line for line in said if line.startswith("training")]
    assert first == again
    console = Console(record=True, width=160)
    print_table(table, first, console, "synthetic")
    text = console.export_text()
    assert "59.97" in text
    assert "UAR here (synthetic)" in text
    assert f"{first[0].uar[0]:.2f}" in text
    assert "not run" in text
