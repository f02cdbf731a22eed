"""Against a real Prometheus, where it is installed, and its own check of what is exported."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from prometheus_client.parser import text_string_to_metric_families

from engine.settings import SettingsError, load
from stream.apps.bridge.prometheus import PrometheusSettings
from stream.cli import main
from tests.stream.apps.bridge.playing import Playing
from tests.subscribers.feed import face
from tests.waiting import wait_for

Start = Callable[..., "subprocess.Popen[str]"]


def endpoint_of(child: subprocess.Popen[str]) -> str:
    assert child.stderr is not None
    line = child.stderr.readline()
    assert line.startswith("serving http://127.0.0.1:"), line
    return line.split()[1]


def scrape(url: str) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    with urllib.request.urlopen(url, timeout=30) as answer:
        text = answer.read().decode()
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def of(name: str, **labels: str) -> tuple[str, tuple[tuple[str, str], ...]]:
    return f"dferstream_{name}", tuple(sorted({"source": "cam1", **labels}.items()))


def test_what_is_scraped_is_what_was_published(playing: Playing, bridge: Start) -> None:
    playing.show(lambda seq: [face(20)])
    url = endpoint_of(bridge("prometheus", playing.endpoint, "--port", "0"))
    wait_for(lambda: of("camera", state="ok") in scrape(url))
    playing.say("smile_started")
    wait_for(lambda: of("events_total", event="smile_started") in scrape(url))
    found = scrape(url)
    assert found[of("up")] == 1
    assert found[of("camera", state="ok")] == 1
    assert found[of("camera", state="stalled")] == 0
    assert found[of("latency_seconds", stage="detect", percentile="99")] == pytest.approx(0.004)
    assert found[of("temperature_celsius", zone="cpu")] == 45.5
    assert 0 <= found[of("frame_age_seconds")] < 60
    assert found[of("messages_total", kind="faces")] > 0
    assert not [name for name, _ in found if "score" in name], "scores stay here unless they are asked for"
    playing.quiet = True
    wait_for(lambda: scrape(url)[of("up")] == 0)
    assert scrape(url)[of("valid")] == 0


def test_scores_are_exported_where_asked(playing: Playing, bridge: Start) -> None:
    playing.show(lambda seq: [face(20)])
    url = endpoint_of(bridge("prometheus", playing.endpoint, "--port", "0", "--scores"))
    wait_for(lambda: of("score", **{"class": "happiness"}) in scrape(url))
    found = scrape(url)
    shares = {labels: value for (name, labels), value in found.items() if name == "dferstream_score"}
    assert sum(shares.values()) == pytest.approx(1, abs=1e-4)
    assert found[of("score", **{"class": "fear"})] == pytest.approx((face(20).smoothed or {})["fear"])


@pytest.fixture
def prometheus(tmp_path: Path) -> Iterator[Callable[[str], Callable[[str], list[dict[str, Any]]]]]:
    program = shutil.which("prometheus")
    if program is None:
        pytest.skip("no Prometheus (apt-get install prometheus); the parser of its client covers the form")
    started: list[subprocess.Popen[bytes]] = []

    def start(target: str) -> Callable[[str], list[dict[str, Any]]]:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        config = tmp_path / "prometheus.yml"
        config.write_text(
            "global: {scrape_interval: 1s}\nscrape_configs:\n- job_name: dferstream\n"
            f"  static_configs: [{{targets: ['{target}']}}]\n"
        )
        command = [program, f"--config.file={config}", f"--storage.tsdb.path={tmp_path}/db"]
        started.append(
            subprocess.Popen([*command, f"--web.listen-address=127.0.0.1:{port}"], stderr=subprocess.DEVNULL)
        )

        def query(text: str) -> list[dict[str, Any]]:
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{port}/api/v1/query?query={quote(text)}") as answer:
                    found: list[dict[str, Any]] = json.load(answer)["data"]["result"]
                    return found
            except OSError:
                return []

        return query

    yield start
    for child in started:
        child.kill()
        child.wait()


def test_a_real_prometheus_scrapes_it(
    playing: Playing, bridge: Start, prometheus: Callable[[str], Callable[[str], list[dict[str, Any]]]]
) -> None:
    url = endpoint_of(bridge("prometheus", playing.endpoint, "--port", "0"))
    query = prometheus(url.removeprefix("http://").removesuffix("/metrics"))
    wait_for(lambda: bool(query('dferstream_up{source="cam1"} == 1')))
    wait_for(lambda: bool(query('rate(dferstream_messages_total{kind="faces"}[10s]) > 1')))
    assert query('up{job="dferstream"}')[0]["value"][1] == "1"
    assert query('dferstream_rate_out_hertz{source="cam1"}')[0]["value"][1] == "30"


def test_promtool_has_nothing_to_say(playing: Playing, bridge: Start) -> None:
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("no promtool (apt-get install prometheus)")
    url = endpoint_of(bridge("prometheus", playing.endpoint, "--port", "0", "--scores"))
    wait_for(lambda: of("camera", state="ok") in scrape(url))
    with urllib.request.urlopen(url) as answer:
        done = subprocess.run([promtool, "check", "metrics"], input=answer.read(), capture_output=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, b""), done.stderr


def test_a_port_in_use_is_one_line(playing: Playing, bridge: Start) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        child = bridge("prometheus", playing.endpoint, "--port", str(taken.getsockname()[1]))
        _, error = child.communicate(timeout=60)
    assert child.returncode == 2
    assert "is in use; choose another with --port" in error
    assert len(error.splitlines()) == 1


def test_it_ends_when_told(playing: Playing, bridge: Start) -> None:
    child = bridge("prometheus", playing.endpoint, "--port", "0")
    endpoint_of(child)
    child.terminate()
    assert child.wait(30) == 0


def test_a_missing_extra_is_one_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setitem(sys.modules, "prometheus_client", None)
    assert main(["bridge", "prometheus"]) == 2
    assert "pip install 'dferstream[prometheus]'" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("flag", "text", "words"),
    [
        ("host", "0.0.0.0", "can be reached from other machines"),
        ("host", "box", "must be an IP address"),
        ("port", "70000", "port must be"),
    ],
)
def test_settings_that_cannot_be_are_refused(flag: str, text: str, words: str) -> None:
    with pytest.raises(SettingsError, match=words):
        load(PrometheusSettings, flags={flag: text}, prefix="DFER_BRIDGE_PROMETHEUS_")
