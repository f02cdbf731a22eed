"""To an MQTT 5 broker: every event and status, the newest scores, a retained state, and a last will.

Topics under ``<prefix>/<source>/``: ``online`` (retained, ``online`` or ``offline``; the last will says the latter),
``status`` (retained), ``state`` (retained, what Home Assistant shows), ``event``, ``faces``. Everything is sent at
QoS 1 and stays until it is acknowledged: a broker that dies costs the messages of its down time.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import signal
import ssl
import time
from collections import deque
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from engine import settings
from engine.console import Exit
from engine.files import read_file
from engine.settings import SettingsError
from engine.text import printable, say
from stream import __version__
from stream.apps.bridge.feed import BridgeError, Feed, Heard, Pulse, extra, first_source, kind_of
from stream.apps.bridge.home_assistant import discovery, state
from stream.publish.message import Faces

if TYPE_CHECKING:
    import aiomqtt

PREFIX = "DFER_BRIDGE_MQTT_"
_LOOPBACK = ("127.0.0.1", "localhost", "::1")
_MOST_WAITING = 256
_ACK_S = 5.0
_BACKOFF_S = (0.2, 5.0)
_MOST_SECRET_BYTES = 4096


@dataclass(frozen=True)
class MqttSettings:
    """The broker, and what it gets.

    Attributes:
        url: The broker: `mqtt://host:1883`, or `mqtts://host:8883` for TLS.
        username: Name to log in with.
        password_file: File that holds the password.
        ca_file: Certificates to trust instead of the system's.
        plain: Allow a broker beyond this machine without TLS: who listens on the way sees every score.
        prefix: First part of every topic.
        discovery: Home Assistant's discovery prefix; empty for none.
        faces_hz: Most `faces` messages per second, the newest at each time.
    """

    url: str = "mqtt://127.0.0.1:1883"
    username: str | None = None
    password_file: Path | None = None
    ca_file: Path | None = None
    plain: bool = False
    prefix: str = "dferstream"
    discovery: str = "homeassistant"
    faces_hz: float = 5.0

    def __post_init__(self) -> None:
        parts = urlsplit(self.url)
        if parts.scheme not in ("mqtt", "mqtts") or not parts.hostname or parts.path not in ("", "/"):
            raise SettingsError(f"url must be mqtt://host:port or mqtts://host:port, not {self.url!r}")
        if parts.username or parts.password:
            raise SettingsError("url must hold no name or password: give username and password_file")
        if parts.scheme == "mqtt" and parts.hostname not in _LOOPBACK and not self.plain:
            raise SettingsError(f"url {self.url} sends scores in the clear: take mqtts://, or say --plain")
        for name in ("prefix", "discovery"):
            if any(c in getattr(self, name) for c in "#+\0") or getattr(self, name).startswith(("$", "/")):
                raise SettingsError(f"{name} must be a topic without #, + or a leading / or $")
        if not self.prefix:
            raise SettingsError("prefix must not be empty")
        if not 0 < self.faces_hz <= 1000:
            raise SettingsError(f"faces_hz must be above 0 and at most 1000, not {self.faces_hz:g}")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of ``dfer-stream bridge mqtt``."""
    settings.add_flags(parser, MqttSettings)


def run(args: argparse.Namespace) -> int:
    """Carry messages until stopped; ``PARTLY`` where none was heard."""
    given = settings.flags_of(args, MqttSettings)
    chosen = settings.load(MqttSettings, None, os.environ, given, prefix=PREFIX).settings
    extra("aiomqtt", "mqtt")
    password = None
    if chosen.password_file is not None:
        password = read_file(chosen.password_file, _MOST_SECRET_BYTES).decode("utf-8", "replace").strip()
    source = first_source(args, "mqtt")
    if source is None:
        return Exit.PARTLY
    asyncio.run(_Bridge(chosen, source, password).run(args))
    return Exit.DONE


@dataclass(frozen=True)
class _Letter:
    """One publication."""

    topic: str
    payload: bytes
    retain: bool = False


class _Outbox:
    """What waits to be sent: every event and status, of the rest the newest; the oldest gives way to a full box."""

    def __init__(self, base: str, faces_hz: float) -> None:
        self._base, self._period_s = base, 1 / faces_hz
        self._queue: deque[_Letter] = deque(maxlen=_MOST_WAITING)
        self._faces: Heard | None = None
        self._due_s = 0.0
        self._shown = b""
        self.pulse = Pulse()

    def put(self, heard: Heard) -> None:
        """Take a message."""
        self.pulse.observe(heard.message)
        if isinstance(heard.message, Faces):
            self._faces = heard
        else:
            kind = kind_of(heard.message)
            self._queue.append(_Letter(f"{self._base}/{kind}", heard.body, retain=kind == "status"))

    def forget_shown(self) -> None:
        """A new connection: the state is to be told again."""
        self._shown = b""

    def next(self, now_s: float) -> _Letter | None:
        """What is to be sent now; it stays until :meth:`sent`."""
        if not self._queue and self._faces is not None and now_s >= self._due_s:
            self._due_s = max(self._due_s + self._period_s, now_s)
            heard, self._faces = self._faces, None
            assert isinstance(heard.message, Faces)
            self._queue.append(_Letter(f"{self._base}/faces", heard.body))
            shown = state(heard.message)
            if shown != self._shown:
                self._shown = shown
                self._queue.append(_Letter(f"{self._base}/state", shown, retain=True))
        return self._queue[0] if self._queue else None

    def sent(self, letter: _Letter) -> None:
        """It is acknowledged."""
        if self._queue and self._queue[0] is letter:
            self._queue.popleft()


class _Bridge:
    """Connects, sends, and connects again."""

    def __init__(self, chosen: MqttSettings, source: str, password: str | None) -> None:
        self._settings, self._source, self._password = chosen, source, password
        self._base = f"{chosen.prefix}/{source}"
        self._outbox = _Outbox(self._base, chosen.faces_hz)
        self._stop = asyncio.Event()
        self._woken = asyncio.Event()

    async def run(self, args: argparse.Namespace) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self._stop.set)
        if args.seconds is not None:
            loop.call_later(args.seconds, self._stop.set)

        def take(heard: Heard) -> None:
            with contextlib.suppress(RuntimeError):  # the loop has ended meanwhile
                loop.call_soon_threadsafe(self._put, heard)

        import aiomqtt

        with Feed(args, self._source, ("faces", "status", "event"), take):
            wait_s, told = _BACKOFF_S[0], ""
            while not self._stop.is_set():
                try:
                    async with self._client() as client:
                        wait_s, told = _BACKOFF_S[0], ""
                        say(f"carrying {self._source} to {self._settings.url} under {self._base}/")
                        await self._session(client)
                except aiomqtt.MqttError as error:
                    # Whatever the first connection meets may be a wrong name: later ones may wait for a broker.
                    if str(error) != told:
                        told = str(error)
                        say(f"dfer-stream bridge mqtt: {self._settings.url}: {printable(told)}; trying again")
                    with contextlib.suppress(asyncio.TimeoutError):
                        await asyncio.wait_for(self._stop.wait(), wait_s)
                    wait_s = min(wait_s * 2, _BACKOFF_S[1])

    def _put(self, heard: Heard) -> None:
        self._outbox.put(heard)
        self._woken.set()

    def _client(self) -> aiomqtt.Client:
        import aiomqtt

        chosen, parts = self._settings, urlsplit(self._settings.url)
        assert parts.hostname is not None
        tls: dict[str, Any] = {}
        if parts.scheme == "mqtts":
            try:
                tls["tls_context"] = ssl.create_default_context(cafile=chosen.ca_file)
            except (OSError, ssl.SSLError) as error:
                raise BridgeError(f"{chosen.ca_file}: {error}", "give a file of certificates in PEM") from error
        return aiomqtt.Client(
            parts.hostname,
            parts.port or (8883 if parts.scheme == "mqtts" else 1883),
            username=chosen.username,
            password=self._password,
            protocol=aiomqtt.ProtocolVersion.V5,
            will=aiomqtt.Will(f"{self._base}/online", b"offline", qos=1, retain=True),
            keepalive=10,
            timeout=_ACK_S,
            **tls,
        )

    async def _session(self, client: aiomqtt.Client) -> None:
        """Send until told to stop; a lost connection raises."""
        self._outbox.forget_shown()
        if self._settings.discovery:
            found = discovery(
                self._source, self._settings.discovery, f"{self._base}/state", f"{self._base}/online", __version__
            )
            for topic, payload in found.items():
                await client.publish(topic, payload, qos=1, retain=True)
        online: bool | None = None
        while not self._stop.is_set():
            if online is not self._outbox.pulse.alive:
                online = self._outbox.pulse.alive
                await self._say_online(client, online)
            letter = self._outbox.next(time.monotonic())
            if letter is not None:
                await client.publish(letter.topic, letter.payload, qos=1, retain=letter.retain)
                self._outbox.sent(letter)
                continue
            self._woken.clear()
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self._woken.wait(), 0.1)
        # Who says goodbye leaves no last will.
        await self._say_online(client, False)

    async def _say_online(self, client: aiomqtt.Client, online: bool) -> None:
        await client.publish(f"{self._base}/online", b"online" if online else b"offline", qos=1, retain=True)
