from __future__ import annotations

from pathlib import Path

import pytest

from engine.settings import SettingsError, entries, load
from stream.apps.driver import settings
from stream.apps.driver.settings import OURS, SOURCES, DriverSettings, table

FOLDER = Path(settings.__file__).parent


def test_every_threshold_has_a_source_in_the_table() -> None:
    rows = table().splitlines()[2:]
    assert len(rows) == len(entries(DriverSettings)) > 40
    assert all(row.rsplit("| ", 1)[1].strip(" |") for row in rows)
    assert set(SOURCES) <= {entry.key for entry in entries(DriverSettings)}
    # Some is of regulations and papers, the rest says that it is ours.
    assert sum(OURS in row for row in rows) < len(rows)


def test_the_table_in_the_tree_is_the_programs_own() -> None:
    shown = (FOLDER / "thresholds.md").read_text("utf-8")
    assert table().strip() in shown, "write `dfer-stream driver --thresholds` into stream/apps/driver/thresholds.md"


@pytest.mark.parametrize(
    ("flag", "text", "words"),
    [
        ("input.settle_s", "0.5", "settle_s must be at least 1"),
        ("attention.away_s", "4,2,6", "each at least the one before"),
        ("attention.shared_s", "10,20,40", "shared_s must fit into"),
        ("attention.yaw_deg", "-3", "yaw_deg must be above 0"),
        ("drowsiness.shut_share", "0.9", "shut_share must be at most open_share"),
        ("seat.region", "0,0,2,1", "region must be"),
        ("baseline.seconds", "1", "seconds must be at least 3"),
        ("baseline.first_s", "90", "first_s must be at most seconds"),
    ],
)
def test_thresholds_that_cannot_be_are_refused(flag: str, text: str, words: str) -> None:
    with pytest.raises(SettingsError, match=words):
        load(DriverSettings, flags={flag: text}, prefix="DFER_DRIVER_")


def test_the_daemon_passes_over_the_policys_variables() -> None:
    from stream.config import Settings

    environ = {"DFER_DRIVER_ATTENTION_YAW_DEG": "40"}
    load(Settings, environ=environ)
    assert load(DriverSettings, environ=environ, prefix="DFER_DRIVER_").settings.attention.yaw_deg == 40
