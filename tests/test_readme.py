"""What the README shows is what the program says."""

from __future__ import annotations

import re
from pathlib import Path

from engine.settings import table
from stream.config import Settings

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text("utf-8")
SETTINGS = (ROOT / "stream" / "SETTINGS.md").read_text("utf-8")


def between(name: str, page: str = README) -> str:
    found = re.search(rf"<!-- {name} -->\n(.*?)\n<!-- /{name} -->", page, re.DOTALL)
    assert found is not None, f"the page has lost its <!-- {name} --> marks"
    return found[1].strip()


def test_the_settings_table_is_the_programs_own() -> None:
    found = between("settings", SETTINGS)
    assert found == table(Settings).strip(), "paste `dfer-stream config table` between the settings marks"


def test_the_subscriber_is_the_one_that_is_tested() -> None:
    shown = between("subscriber").removeprefix("```js\n").removesuffix("\n```")
    assert shown == (ROOT / "tests" / "subscribers" / "subscriber.mjs").read_text("utf-8").strip()


def test_every_linked_file_exists() -> None:
    links = re.findall(r"\]\((?!https?:|#)([^)]+)\)", README)
    assert links
    missing = [link for link in links if not (ROOT / link.partition("#")[0]).exists()]
    assert missing == []
