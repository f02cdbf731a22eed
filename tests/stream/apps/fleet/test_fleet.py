"""The files against the real Prometheus: checked, loaded, three daemons scraped, one of them killed."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
import yaml

from stream.apps.fleet.command import FILES, FleetError, fleet_files
from stream.cli import main
from stream.publish.message import DEGRADED
from tests.waiting import wait_for

HERE = Path(__file__).parent
ROOT = HERE.parents[3]
SOURCES = ("cam0", "cam1", "cam2")
Children = Callable[..., "subprocess.Popen[str]"]

needs_prometheus = pytest.mark.skipif(
    shutil.which("prometheus") is None or shutil.which("promtool") is None,
    reason="no Prometheus (apt-get install prometheus)",
)


@pytest.fixture
def children() -> Iterator[Children]:
    started: list[subprocess.Popen[str]] = []

    def start(*command: str) -> subprocess.Popen[str]:
        child = subprocess.Popen(
            command,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"},
        )
        started.append(child)
        return child

    yield start
    for child in started:
        child.kill()
        child.communicate()


def daemon(kind: str, folder: Path, source: str) -> list[str]:
    """A process that publishes as a daemon does, or a daemon."""
    endpoint = f"ipc://{folder}/{source}.ipc"
    if kind == "feed":
        return [sys.executable, str(ROOT / "tests/subscribers/feed.py"), endpoint, source, "10"]
    return [sys.executable, "-m", "stream.cli", "run", "--source", "demo://", "--source-name", source,
            "--bind", endpoint, "--camera.loop"]  # fmt: skip


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def exprs(board: dict[str, Any]) -> list[str]:
    found = [target["expr"] for panel in board["panels"] for target in panel["targets"]]
    found += [entry["expr"] for entry in board["annotations"]["list"]]
    return [
        text.replace("$source", ".*").replace("$instance", ".*").replace("$__rate_interval", "1m") for text in found
    ]


@needs_prometheus
@pytest.mark.parametrize("kind", ["feed", pytest.param("run", marks=pytest.mark.slow)])
def test_three_daemons_are_seen_and_a_killed_one_is_an_alert(tmp_path: Path, children: Children, kind: str) -> None:
    daemons = [children(*daemon(kind, tmp_path, source)) for source in SOURCES[:2]]
    bridge = children(
        sys.executable, "-m", "stream.cli", "bridge", "prometheus", "--directory", str(tmp_path), "--port", "0"
    )
    assert bridge.stderr is not None
    target = re.fullmatch(r"serving http://(127\.0\.0\.1:\d+)/metrics\n", bridge.stderr.readline())
    assert target is not None
    daemons.append(children(*daemon(kind, tmp_path, SOURCES[2])))  # one that starts later
    fleet = tmp_path / "fleet"
    assert main(["fleet", str(fleet), target[1], "--interval", "1"]) == 0
    port = free_port()
    children("prometheus", f"--config.file={fleet / FILES[0]}", f"--storage.tsdb.path={tmp_path}/db",
             f"--web.listen-address=127.0.0.1:{port}")  # fmt: skip

    def ask(path: str) -> Any:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/api/v1/{path}", timeout=30) as answer:
                return json.load(answer)["data"]
        except OSError:
            return None

    def query(text: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = (ask(f"query?query={quote(text)}") or {"result": []})["result"]
        return found

    wait_for(lambda: {row["metric"]["source"] for row in query("dferstream_up == 1")} == set(SOURCES), every_s=0.25)
    rules = [rule for group in ask("rules")["groups"] for rule in group["rules"]]
    assert len(rules) >= 10
    assert [rule["name"] for rule in rules if rule["health"] == "err"] == []
    assert not query('ALERTS{alertname="DferDaemonSilent"}')
    board = json.loads((fleet / FILES[2]).read_text())
    may_be_empty = ("celsius", "ALERTS{", "events_total")  # no sensor here, all well, nothing happened
    shown = [text for text in exprs(board) if not any(word in text for word in may_be_empty)]
    assert len(shown) > 10
    wait_for(lambda: all(query(text) for text in shown), every_s=0.5)

    daemons[1].send_signal(signal.SIGKILL)
    firing = 'ALERTS{alertname="DferDaemonSilent",alertstate="firing"}'
    wait_for(lambda: bool(query(firing)), every_s=0.25)
    assert [row["metric"]["source"] for row in query(firing)] == ["cam1"]
    daemons[1] = children(*daemon(kind, tmp_path, "cam1"))
    wait_for(lambda: not query(firing), every_s=0.25)
    bridge.terminate()
    assert bridge.wait(60) == 0


@needs_prometheus
def test_promtool_finds_each_alert_where_it_should(tmp_path: Path) -> None:
    assert main(["fleet", str(tmp_path), "box1", "[fd00::7]:9577", "--alertmanager", "127.0.0.1:9093"]) == 0
    for name in ("rules.yml", "rules-days.yml"):
        shutil.copy(HERE / name, tmp_path)
    for command in (
        ["check", "config", "--lint=all", "--lint-fatal", FILES[0]],
        ["check", "rules", "--lint=all", "--lint-fatal", FILES[1]],
        ["test", "rules", "rules.yml", "rules-days.yml"],
    ):
        done = subprocess.run(["promtool", *command], cwd=tmp_path, capture_output=True, text=True, timeout=240)
        assert done.returncode == 0, done.stdout + done.stderr
    tried = "".join((HERE / name).read_text() for name in ("rules.yml", "rules-days.yml"))
    alerts = re.findall(r"alert: (\w+)", (tmp_path / FILES[1]).read_text())
    assert [name for name in alerts if name not in tried] == [], "an alert without a case"


def test_what_is_written_is_yaml_and_a_board(tmp_path: Path) -> None:
    texts = fleet_files(tmp_path, ["box1", "10.0.0.7:9000"], 15, "am:9093", "https://prom.example/x")
    config = yaml.safe_load(texts["prometheus.yml"])
    assert config["scrape_configs"][0]["static_configs"][0]["targets"] == ["box1:9577", "10.0.0.7:9000"]
    assert config["global"] == {"scrape_interval": "15s", "evaluation_interval": "15s"}
    assert config["alerting"]["alertmanagers"][0]["static_configs"][0]["targets"] == ["am:9093"]
    provider = yaml.safe_load(texts["grafana-dashboards.yml"])["providers"][0]
    assert provider["options"]["path"] == str(tmp_path)
    assert yaml.safe_load(texts["grafana-datasource.yml"])["datasources"][0]["url"] == "https://prom.example/x"
    assert not any("@" in text.replace("{{source}} @", "") for text in texts.values() if "alert:" not in text), "a mark"
    board = json.loads(texts["dferstream-board.json"])
    ids = [panel["id"] for panel in board["panels"]]
    assert len(set(ids)) == len(ids) >= 10
    taken: set[tuple[int, int]] = set()
    for panel in board["panels"]:
        at = panel["gridPos"]
        cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert max(x for x, _ in cells) < 24, f"{panel['title']} leaves the grid"
        assert not cells & taken, f"{panel['title']} lies over another panel"
        taken |= cells
    asked = set(re.findall(r"what=\\?\"(\w+)", "".join(texts.values())))
    assert asked <= set(DEGRADED)


def test_writing_again_replaces_and_leaves_others(tmp_path: Path) -> None:
    assert main(["fleet", str(tmp_path)]) == 0
    (tmp_path / "mine.yml").write_text("mine")
    assert main(["fleet", str(tmp_path), "box1"]) == 0
    assert (tmp_path / "mine.yml").read_text() == "mine"
    assert '["box1:9577"]' in (tmp_path / FILES[0]).read_text()


@pytest.mark.parametrize(
    ("machines", "interval", "words"),
    [
        (["a b"], 5, "no HOST"),
        (["box:99999"], 5, "no HOST"),
        (["http://box"], 5, "no HOST"),
        (["box", "box:9577"], 5, "named twice"),
        (["box"], 0, "1 to 60 s"),
        (["box"], 61, "1 to 60 s"),
    ],
)
def test_what_is_no_fleet_is_refused(tmp_path: Path, machines: list[str], interval: int, words: str) -> None:
    with pytest.raises(FleetError, match=words):
        fleet_files(tmp_path, machines, interval, None, "http://127.0.0.1:9090")


def test_an_address_that_would_break_the_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FleetError, match="no address of Prometheus"):
        fleet_files(tmp_path, ["box"], 5, None, 'http://x"\n')


def test_a_folder_of_sockets_and_an_endpoint_exclude_each_other(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["bridge", "prometheus", "--directory", str(tmp_path), "tcp://127.0.0.1:5570"]) == 2
    assert "leave ENDPOINT and --source out" in capsys.readouterr().err
