"""As an endpoint that Prometheus scrapes: the daemon's health and the scores of now. Off unless it is started."""

from __future__ import annotations

import argparse
import contextlib
import errno
import ipaddress
import os
import signal
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine import settings
from engine.console import Exit
from engine.settings import SettingsError
from engine.text import say
from stream.apps.bridge.feed import BridgeError, Feed, Heard, Pulse, extra
from stream.publish.endpoint import socket_endpoints
from stream.publish.message import DEGRADED, REASONS, Event, Faces, Message, Status

if TYPE_CHECKING:
    from prometheus_client.core import Metric

PREFIX = "DFER_BRIDGE_PROMETHEUS_"
KINDS = ("faces", "status", "event")
_MOST_SOURCES = 32
_LOOK_S = 0.5


@dataclass(frozen=True)
class PrometheusSettings:
    """Where it listens.

    Attributes:
        host: Address to bind; anything but loopback needs `everyone`.
        port: TCP port; 0 takes a free one.
        everyone: Allow an address that other machines can reach: there is no password.
        scores: Also export the primary face's scores. Off: health alone.
        directory: Hear every source whose socket lies in this folder, later ones too: /run/dferstream for all daemons
            that systemd runs here. Empty: one endpoint.
    """

    host: str = "127.0.0.1"
    port: int = 9577
    everyone: bool = False
    scores: bool = False
    directory: str = ""

    def __post_init__(self) -> None:
        try:
            local = ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            raise SettingsError(f"host must be an IP address, not {self.host!r}") from None
        if not local and not self.everyone:
            raise SettingsError(f"host {self.host} can be reached from other machines: say --everyone if you mean it")
        if not 0 <= self.port <= 65535:
            raise SettingsError(f"port must be 0..65535, not {self.port}")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of ``dfer-stream bridge prometheus``."""
    settings.add_flags(parser, PrometheusSettings)


def run(args: argparse.Namespace) -> int:
    """Serve until stopped."""
    given = settings.flags_of(args, PrometheusSettings)
    chosen = settings.load(PrometheusSettings, None, os.environ, given, prefix=PREFIX).settings
    client = extra("prometheus_client", "prometheus")
    registry = client.CollectorRegistry()
    health = Health(chosen.scores)
    registry.register(health)
    stopping = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stopping.set())
    if chosen.directory and (args.endpoint or args.source):
        raise BridgeError("--directory hears every source there", "leave ENDPOINT and --source out")
    with contextlib.ExitStack() as stack:
        heard: set[str] = set()

        def hear(endpoint: str | None) -> None:
            told = argparse.Namespace(**{**vars(args), "endpoint": endpoint})
            health.feeds.append(stack.enter_context(Feed(told, args.source, KINDS, health.take)))

        def hear_new() -> None:
            for endpoint in sorted(socket_endpoints(Path(chosen.directory)) - heard)[: _MOST_SOURCES - len(heard)]:
                hear(endpoint)
                heard.add(endpoint)

        if chosen.directory:
            hear_new()
        else:
            hear(args.endpoint)
        try:
            server, thread = client.start_http_server(chosen.port, chosen.host, registry)
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise
            raise BridgeError(f"port {chosen.port} is in use", "choose another with --port") from error
        host = f"[{chosen.host}]" if ":" in chosen.host else chosen.host
        say(f"serving http://{host}:{server.server_port}/metrics")
        until_ns = None if args.seconds is None else time.monotonic_ns() + int(args.seconds * 1e9)
        try:
            while not stopping.wait(_LOOK_S) and (until_ns is None or time.monotonic_ns() < until_ns):
                if chosen.directory:
                    hear_new()
        finally:
            server.shutdown()
            server.server_close()
            thread.join()
    return Exit.DONE


class _Source:
    """What was last heard of one source."""

    def __init__(self) -> None:
        self.pulse = Pulse()
        self.faces: Faces | None = None
        self.status: Status | None = None
        self.messages: dict[str, int] = {}
        self.events: dict[str, int] = {}


class Health:
    """A collector: what is scraped is made of the newest messages at that moment.

    Args:
        scores: Whether scores are exported.
    """

    def __init__(self, scores: bool) -> None:
        self._scores = scores
        self._lock = threading.Lock()
        self._sources: dict[str, _Source] = {}
        self.feeds: list[Feed] = []

    def take(self, heard: Heard) -> None:
        """Take a message, from any thread."""
        message: Message = heard.message
        with self._lock:
            if message.source not in self._sources and len(self._sources) >= _MOST_SOURCES:
                return
            source = self._sources.setdefault(message.source, _Source())
            source.pulse.observe(message)
            kind = "faces" if isinstance(message, Faces) else "event" if isinstance(message, Event) else "status"
            source.messages[kind] = source.messages.get(kind, 0) + 1
            if isinstance(message, Faces):
                source.faces = message
            elif isinstance(message, Status):
                source.status = message
            elif isinstance(message, Event) and (len(source.events) < _MOST_SOURCES or message.event in source.events):
                source.events[message.event] = source.events.get(message.event, 0) + 1

    def collect(self) -> Iterator[Metric]:
        """The metrics of now, as `prometheus_client` asks for them."""
        from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

        with self._lock:
            sources = dict(self._sources)
            gauges: dict[str, Any] = {}

            def gauge(name: str, meaning: str, value: float | None, labels: dict[str, str]) -> None:
                if value is None:
                    return
                family = gauges.get(name)
                if family is None:
                    family = gauges[name] = GaugeMetricFamily(f"dferstream_{name}", meaning, labels=list(labels))
                family.add_metric(list(labels.values()), value)

            def counter(name: str, meaning: str, value: float, labels: dict[str, str]) -> None:
                family = gauges.get(name)
                if family is None:
                    family = gauges[name] = CounterMetricFamily(f"dferstream_{name}", meaning, labels=list(labels))
                family.add_metric(list(labels.values()), value)

            for name, source in sources.items():
                of = {"source": name}
                gauge("up", "1 while messages of the source are younger than ten periods.", source.pulse.alive, of)
                for kind, count in source.messages.items():
                    counter("messages", "Messages heard.", count, {**of, "kind": kind})
                for event, count in source.events.items():
                    counter("events", "Events heard.", count, {**of, "event": event})
                self._of_status(source.status, of, gauge, counter)
                self._of_faces(source, of, gauge)
            if self.feeds:
                bad = sum(feed.bad for feed in list(self.feeds))
                counter("unreadable_messages", "Frames that were no messages of this schema.", bad, {})
        yield from gauges.values()

    def _of_status(self, status: Status | None, of: dict[str, str], gauge: Any, counter: Any) -> None:
        if status is None:
            return
        for reason in REASONS:
            gauge("camera", "1 for the state that the camera is in.", status.camera == reason, {**of, "state": reason})
        for what in DEGRADED:
            gauge("degraded", "1 for what runs below its setting.", what in status.degraded, {**of, "what": what})
        if (model := status.model) is not None:
            said = {"version": status.version, "model": model.name, "sha256": model.sha256[:12]}
            said |= {"backend": model.backend, "precision": model.precision, "calibration": model.calibration or "none"}
            gauge("info", "What runs there; always 1.", 1, {**of, **said})
        gauge("uptime_seconds", "Since the daemon started.", status.uptime_s, of)
        gauge("memory_bytes", "Resident memory of the daemon.", (status.memory_mb or 0) * 1e6 or None, of)
        gauge("rate_in_hertz", "Frames read per second.", status.rate_in_hz, of)
        gauge("rate_out_hertz", "Frames published per second.", status.rate_out_hz, of)
        for name in ("frames", "published", "dropped", "refused", "reconnects", "backend_faults"):
            counter(
                name, f"{name.replace('_', ' ').capitalize()} since the start.", getattr(status, f"{name}_total"), of
            )
        for stage, late in status.latency_ms.items():
            for percentile, value in (("50", late.p50), ("99", late.p99)):
                gauge(
                    "latency_seconds", "Time of a stage.", value / 1e3, {**of, "stage": stage, "percentile": percentile}
                )
        for zone, celsius in (status.temperature_c or {}).items():
            gauge("temperature_celsius", "Of a thermal zone.", celsius, {**of, "zone": zone})

    def _of_faces(self, source: _Source, of: dict[str, str], gauge: Any) -> None:
        message = source.faces
        if message is None:
            return
        gauge("valid", "1 while there is a fresh live frame.", message.valid and source.pulse.alive, of)
        gauge("faces", "Faces followed.", sum(face.state != "lost" for face in message.faces), of)
        if message.boot_id and message.t_capture_ns is not None and message.t_capture_src != "file":
            age_s = (time.monotonic_ns() - message.t_capture_ns) / 1e9
            gauge("frame_age_seconds", "Age of the newest frame; only of this machine.", max(age_s, 0.0), of)
        face = next((face for face in message.faces if face.primary), None)
        if self._scores and face is not None and message.valid and source.pulse.alive:
            for label, value in (face.smoothed or {}).items():
                gauge("score", "Smoothed probability of the primary face.", value, {**of, "class": label})
