"""Against a real mosquitto, killed and started again."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import paho.mqtt.client as mqtt
import pytest
from paho.mqtt.enums import CallbackAPIVersion

from engine.settings import SettingsError, load
from stream.apps.bridge.mqtt import MqttSettings
from stream.cli import main
from tests.stream.apps.bridge.playing import Playing
from tests.waiting import wait_for

MOSQUITTO = shutil.which("mosquitto") or shutil.which("mosquitto", path="/usr/sbin")
pytestmark = pytest.mark.skipif(MOSQUITTO is None, reason="no mosquitto (apt-get install mosquitto)")


class Broker:
    """A mosquitto that keeps retained messages on disk, as a real one is set up.

    Args:
        folder: For its files.
        more: Further lines of its configuration.
    """

    def __init__(self, folder: Path, more: str = "allow_anonymous true") -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port: int = free.getsockname()[1]
        self._config = folder / "mosquitto.conf"
        (folder / "store").mkdir()
        self._config.write_text(
            f"listener {self.port} 127.0.0.1\n{more}\npersistence true\n"
            f"persistence_location {folder}/store/\nautosave_interval 1\nautosave_on_changes true\nuser root\n"
        )
        self.start()

    @property
    def url(self) -> str:
        return f"mqtt://127.0.0.1:{self.port}"

    def start(self) -> None:
        assert MOSQUITTO is not None
        self._child = subprocess.Popen([MOSQUITTO, "-c", str(self._config)], stderr=subprocess.DEVNULL)
        wait_for(self._listens, 30)

    def kill(self) -> None:
        self._child.kill()
        self._child.wait()

    def _listens(self) -> bool:
        try:
            socket.create_connection(("127.0.0.1", self.port), 1).close()
        except OSError:
            return False
        return True


class Subscriber:
    """Another client of the broker, with a library and a thread of its own."""

    def __init__(
        self, port: int, topic: str = "#", ca: Path | None = None, login: tuple[str, str] | None = None
    ) -> None:
        self.heard: list[mqtt.MQTTMessage] = []
        self._client = mqtt.Client(CallbackAPIVersion.VERSION2, protocol=mqtt.MQTTv5)
        subscribed = threading.Event()
        self._client.on_message = lambda client, data, message: self.heard.append(message)
        self._client.on_connect = lambda client, *rest: client.subscribe(topic, 1)
        self._client.on_subscribe = lambda *rest: subscribed.set()
        self._client.reconnect_delay_set(1, 1)
        if ca is not None:
            self._client.tls_set(str(ca))
        if login is not None:
            self._client.username_pw_set(*login)
        self._client.connect("127.0.0.1", port)
        self._client.loop_start()
        assert subscribed.wait(30)

    def of(self, topic: str) -> list[Any]:
        return [json.loads(each.payload) for each in list(self.heard) if each.topic == topic]

    def texts(self, topic: str) -> list[str]:
        return [each.payload.decode() for each in list(self.heard) if each.topic == topic]

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    made = Broker(tmp_path)
    yield made
    made.kill()


@pytest.fixture
def listen(broker: Broker) -> Iterator[Callable[..., Subscriber]]:
    made: list[Subscriber] = []

    def start(topic: str = "#") -> Subscriber:
        made.append(Subscriber(broker.port, topic))
        return made[-1]

    yield start
    for each in made:
        each.close()


Start = Callable[..., "subprocess.Popen[str]"]
Listen = Callable[..., Subscriber]


def test_every_event_and_status_and_the_newest_faces_arrive(
    playing: Playing, broker: Broker, bridge: Start, listen: Listen
) -> None:
    heard = listen()
    bridge("mqtt", playing.endpoint, "--url", broker.url, "--faces-hz", "1000")
    wait_for(lambda: len(heard.of("dferstream/cam1/faces")) > 5)
    for k in range(40):
        playing.say("smile_started" if k % 2 else "smile_ended")
    wait_for(lambda: len(heard.of("dferstream/cam1/event")) == 40)
    assert [body["seq"] for body in heard.of("dferstream/cam1/event")] == list(range(40))
    faces = heard.of("dferstream/cam1/faces")
    seqs = [body["seq"] for body in faces]
    assert seqs == sorted(set(seqs))
    sent = {message.seq: message for message in playing.sent}
    assert all(body["t_capture_ns"] == sent[body["seq"]].t_capture_ns for body in faces)
    # Nothing is known of the daemon before its first message: until then it counts as away.
    assert heard.texts("dferstream/cam1/online") in (["online"], ["offline", "online"])
    assert heard.of("dferstream/cam1/status")[-1]["source"] == "cam1"


def test_faces_come_no_faster_than_was_asked(playing: Playing, broker: Broker, bridge: Start, listen: Listen) -> None:
    heard = listen("dferstream/cam1/faces")
    bridge("mqtt", playing.endpoint, "--url", broker.url, "--faces-hz", "4")
    wait_for(lambda: len(heard.of("dferstream/cam1/faces")) >= 9)
    seqs = [body["seq"] for body in heard.of("dferstream/cam1/faces")]
    assert seqs[8] - seqs[0] >= 8 * 30 / 4 * 0.8, "a quarter of a second apart, at 30 a second"


def test_a_broker_killed_and_restarted_costs_its_down_time_only(
    playing: Playing, broker: Broker, bridge: Start, listen: Listen
) -> None:
    heard = listen("dferstream/cam1/+")
    bridge("mqtt", playing.endpoint, "--url", broker.url)
    wait_for(lambda: len(heard.of("dferstream/cam1/status")) >= 3)
    for _ in range(10):
        playing.say("smile_started")
    wait_for(lambda: len(heard.of("dferstream/cam1/event")) == 10)
    retained = heard.of("dferstream/cam1/status")[-1]
    # The store on disk is a second behind at most: wait for a status that is in it.
    wait_for(lambda: len(heard.of("dferstream/cam1/status")) >= 30)
    broker.kill()
    for _ in range(5):
        playing.say("attention_lost")
    wait_for(lambda: len(playing.events) == 15)
    broker.start()
    late = listen("dferstream/cam1/+")
    wait_for(lambda: bool(late.of("dferstream/cam1/status")))
    statuses = late.of("dferstream/cam1/status")
    assert statuses[0]["seq"] >= retained["seq"], "what was retained is still there"
    wait_for(lambda: late.texts("dferstream/cam1/online")[-1:] == ["online"])
    for _ in range(10):
        playing.say("smile_ended")
    wait_for(lambda: playing.events[-1].seq in [body["seq"] for body in late.of("dferstream/cam1/event")])
    seqs = {body["seq"] for body in [*heard.of("dferstream/cam1/event"), *late.of("dferstream/cam1/event")]}
    down = {event.seq for event in playing.events if event.event == "attention_lost"}
    assert {event.seq for event in playing.events} - seqs <= down


def test_a_bridge_that_is_killed_leaves_its_last_will(
    playing: Playing, broker: Broker, bridge: Start, listen: Listen
) -> None:
    child = bridge("mqtt", playing.endpoint, "--url", broker.url)
    heard = listen("dferstream/cam1/online")
    wait_for(lambda: heard.texts("dferstream/cam1/online")[-1:] == ["online"])
    child.kill()
    wait_for(lambda: heard.texts("dferstream/cam1/online")[-1:] == ["offline"])
    late = listen("dferstream/cam1/online")
    wait_for(lambda: late.texts("dferstream/cam1/online") == ["offline"])
    assert late.heard[0].retain


def test_a_daemon_that_dies_is_offline_and_comes_back(
    playing: Playing, broker: Broker, bridge: Start, listen: Listen
) -> None:
    heard = listen("dferstream/cam1/online")
    child = bridge("mqtt", playing.endpoint, "--url", broker.url)
    wait_for(lambda: heard.texts("dferstream/cam1/online")[-1:] == ["online"])
    playing.quiet = True
    wait_for(lambda: heard.texts("dferstream/cam1/online")[-1:] == ["offline"])
    playing.quiet, playing.session = False, "session-2"
    wait_for(lambda: heard.texts("dferstream/cam1/online")[-1:] == ["online"])
    child.terminate()
    assert child.wait(30) == 0
    wait_for(lambda: heard.texts("dferstream/cam1/online")[-1:] == ["offline"])


def test_a_broker_with_tls_and_a_password(playing: Playing, bridge: Start, tmp_path: Path) -> None:
    openssl, passwd = shutil.which("openssl"), shutil.which("mosquitto_passwd")
    if openssl is None or passwd is None:
        pytest.skip("no openssl or mosquitto_passwd (apt-get install openssl mosquitto)")
    key, certificate, names, secret = (tmp_path / name for name in ("key.pem", "ca.pem", "names", "secret"))
    made = ["-keyout", str(key), "-out", str(certificate), "-addext", "subjectAltName=IP:127.0.0.1"]
    kind = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2", "-subj", "/CN=test"]
    subprocess.run([openssl, "req", "-x509", *kind, *made], check=True, capture_output=True)
    subprocess.run([passwd, "-c", "-b", str(names), "robot", "hush"], check=True, capture_output=True)
    secret.write_text("hush\n")
    tls = f"allow_anonymous false\npassword_file {names}\ncertfile {certificate}\nkeyfile {key}"
    broker = Broker(tmp_path, tls)
    heard = Subscriber(broker.port, "dferstream/cam1/online", certificate, ("robot", "hush"))
    try:
        url = ("--url", f"mqtts://127.0.0.1:{broker.port}", "--username", "robot")
        told = bridge("mqtt", playing.endpoint, *url, "--password-file", str(secret))
        assert told.stderr is not None
        assert "certificate" in told.stderr.readline(), "nobody vouches for it"
        bridge("mqtt", playing.endpoint, *url, "--password-file", str(secret), "--ca-file", str(certificate))
        wait_for(lambda: heard.texts("dferstream/cam1/online")[-1:] == ["online"])
        secret.write_text("wrong\n")
        child = bridge("mqtt", playing.endpoint, *url, "--password-file", str(secret), "--ca-file", str(certificate))
        assert child.stderr is not None
        line = child.stderr.readline()
        assert "trying again" in line
        assert "wrong" not in line
    finally:
        heard.close()
        broker.kill()


def test_home_assistant_finds_it(playing: Playing, broker: Broker, bridge: Start, listen: Listen) -> None:
    bridge("mqtt", playing.endpoint, "--url", broker.url)
    first = listen("dferstream/cam1/state")
    wait_for(lambda: any(body["camera"] == "ON" for body in first.of("dferstream/cam1/state")))
    late = listen("homeassistant/#")
    wait_for(lambda: len(late.heard) == 4)
    assert all(each.retain for each in late.heard)
    known = set(first.of("dferstream/cam1/state")[0])
    for each in late.heard:
        _, component, node, name, last = each.topic.split("/")
        config = json.loads(each.payload)
        assert (node, last) == ("dferstream_cam1", "config")
        assert component in ("sensor", "binary_sensor")
        assert config["state_topic"] == "dferstream/cam1/state"
        assert config["availability_topic"] == "dferstream/cam1/online"
        assert config["value_template"] == "{{ value_json." + name + " }}"
        assert name in known
    assert len({json.loads(each.payload)["unique_id"] for each in late.heard}) == 4


def test_a_broker_that_is_not_there_yet_is_waited_for(
    playing: Playing, broker: Broker, bridge: Start, listen: Listen
) -> None:
    broker.kill()
    child = bridge("mqtt", playing.endpoint, "--url", broker.url)
    assert child.stderr is not None
    line = child.stderr.readline()
    assert "trying again" in line
    assert str(broker.port) in line
    broker.start()
    heard = listen("dferstream/cam1/online")
    wait_for(lambda: heard.texts("dferstream/cam1/online")[-1:] == ["online"])


def test_a_dead_endpoint_is_one_line_and_ends_in_part(tmp_path: Path, bridge: Start) -> None:
    child = bridge("mqtt", f"ipc://{tmp_path}/none.ipc", "--seconds", "1")
    _, error = child.communicate(timeout=60)
    assert child.returncode == 1
    assert "nothing heard on ipc://" in error
    assert len(error.splitlines()) == 1


def test_a_missing_extra_is_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setitem(sys.modules, "aiomqtt", None)
    assert main(["bridge", "mqtt", f"ipc://{tmp_path}/a.ipc"]) == 2
    error = capsys.readouterr().err
    assert "pip install 'dferstream[mqtt]'" in error
    assert len(error.splitlines()) == 1


@pytest.mark.parametrize(
    ("flag", "text", "words"),
    [
        ("url", "http://x", "url must be mqtt://"),
        ("url", "mqtt://a:b@localhost", "no name or password"),
        ("url", "mqtt://broker.example", "sends scores in the clear"),
        ("prefix", "a/#", "a topic without #"),
        ("prefix", "", "prefix must not be empty"),
        ("faces_hz", "0", "faces_hz must be above 0"),
    ],
)
def test_settings_that_cannot_be_are_refused(flag: str, text: str, words: str) -> None:
    with pytest.raises(SettingsError, match=words):
        load(MqttSettings, flags={flag: text}, prefix="DFER_BRIDGE_MQTT_")
