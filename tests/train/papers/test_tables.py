"""The papers' tables: every row builds, figures are the papers', and a table runs and goes on."""

import json
from pathlib import Path

import pytest
import torch
from rich.console import Console

from engine.settings import SettingsError
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
