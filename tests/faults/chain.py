"""The chain that faults are put into: camera → daemon with its capture child → recorder, broker → subscriber.

Each program has a folder of its own (a small disk, where disks can be mounted), speaks TCP with keys, and is a host of
its own where there is a network.
"""

from __future__ import annotations

import json
import socket
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import msgspec

from stream.publish import keys
from stream.recording.mcap_file import RecordingError
from stream.recording.reading import McapReader
from tests.faults.camera import FaultyCamera, demo_jpegs
from tests.faults.namespaces import Disk, Network
from tests.faults.observer import Body, Observer
from tests.faults.programs import Program, dfer_stream

HZ = 10.0
TARGETS = ("daemon", "capture child", "recorder", "broker", "subscriber")
_PROGRAMS = ("daemon", "broker", "recorder", "subscriber")
Environment = Callable[[Path], dict[str, str]]
_decoder = msgspec.json.Decoder(Body)


class Chain:
    """All of it, running.

    Args:
        folder: For everything.
        apart: Whether namespaces of one's own are there.
        bundle: Of the daemon; None for the default model.
        environment: Of the program with this folder, beside this one's.

    Attributes:
        camera: The camera.
        network: None where all is on the loopback.
        disks: Of each program, by name; empty where none can be mounted.
        programs: By name.
    """

    def __init__(self, folder: Path, apart: bool, bundle: Path | None, environment: Environment) -> None:
        self.folder, self._stack = folder, ExitStack()
        self.network = Network(_PROGRAMS, folder) if apart else None
        self.disks: dict[str, Disk] = {}
        for name in _PROGRAMS:
            if apart:
                self.disks[name] = Disk(folder / name)
                self._stack.callback(self.disks[name].close)
            else:
                (folder / name).mkdir()
        self._keys(folder)
        self.camera = FaultyCamera(demo_jpegs(), HZ)
        server = self._stack.enter_context(self.camera.serving(Network.camera if apart else "127.0.0.1"))
        up, down = self._endpoint("daemon"), self._endpoint("broker")
        model = ["--threads", "1", *(["--bundle", str(bundle)] if bundle else [])]
        theirs = ["--key", self._secret("us"), "--server-key"]
        commands = {
            "daemon": [
                *("run", "--source", server.url(), "--bind", up, *model),
                *("--publish.secret-key", self._secret("daemon"), "--publish.allowed-keys", folder / "allowed"),
            ],
            "broker": [
                *("broker", up, "--bind", down, "--secret-key", self._secret("broker")),
                *("--allowed-keys", folder / "allowed", *theirs, self._public("daemon")),
            ],
            "recorder": [
                *("record", folder / "recorder" / "kept", "--endpoint", up, *theirs, self._public("daemon")),
                *("--part", "20", "--quota", "20M"),
            ],
            "subscriber": ["listen", down, "--json", *theirs, self._public("broker")],
        }
        self.programs = {
            name: Program(
                name,
                dfer_stream(*words),
                folder / name,
                # A daemon that logs as it does in its unit.
                {**environment(folder / name), "INVOCATION_ID": "faults"},
                self.network.prefix(name) if self.network else (),
            )
            for name, words in commands.items()
        }
        self.at_daemon = Observer(up, self._secret("us"), self._public("daemon"))
        self.at_broker = Observer(down, self._secret("us"), self._public("broker"))
        self._read_to = 0
        self._left = b""
        self.heard: list[Body] = []
        for program in self.programs.values():
            self._stack.callback(program.stop)
            program.start()
        for observer in (self.at_daemon, self.at_broker):
            self._stack.callback(observer.close)

    def close(self) -> None:
        """End everything."""
        self._stack.close()

    def program(self, target: str) -> Program:
        """The program of a target: the daemon's own for its child."""
        return self.programs["daemon" if target == "capture child" else target]

    def passed(self, target: str, since_ns: int) -> bool:
        """Whether a valid picture of after then has got as far as a target: of a recorder, onto its disk."""
        if target in ("daemon", "capture child", "broker"):
            observer = self.at_broker if target == "broker" else self.at_daemon
            return any(_after(each.body, since_ns) for each in observer.since(since_ns))
        if target == "subscriber":
            self.listen()
            return any(_after(each, since_ns) for each in self.heard[-50:])
        return any(_after(each, since_ns) for each in self.recorded(newest=True))

    def kept_from(self, since_ns: int) -> int:
        """When the first valid picture of after then that is on the recorder's disk was published, CLOCK_MONOTONIC."""
        return min(each.t_publish_ns for each in self.recorded() if _after(each, since_ns))

    def all_well(self, since_ns: int) -> bool:
        """Whether it has got everywhere."""
        return all(self.passed(target, since_ns) for target in ("daemon", "broker", "subscriber", "recorder"))

    def listen(self) -> None:
        """Read what the subscriber has printed since the last time."""
        out = self.programs["subscriber"].out
        if not out.exists():
            return
        with out.open("rb") as file:
            file.seek(self._read_to)
            data = file.read()
        self._read_to += len(data)
        lines = (self._left + data).split(b"\n")
        self._left = lines.pop()
        for line in lines:
            try:
                self.heard.append(_decoder.decode(line))
            except msgspec.DecodeError:  # a line that was cut by a kill or a full disk
                continue

    def recorded(self, newest: bool = False) -> list[Body]:
        """What is on the recorder's disk, oldest first; with `newest` of the newest part alone."""
        found: list[Body] = []
        paths = sorted((self.folder / "recorder" / "kept").glob("part-*.mcap"))
        for path in paths[-1:] if newest else paths:
            try:
                found += [_decoder.decode(each.body) for each in McapReader(path) if each.kind == "faces"]
            except (RecordingError, json.JSONDecodeError):
                continue
        return found

    def _endpoint(self, name: str) -> str:
        if self.network is not None:
            return f"tcp://{self.network.addresses[name]}:5570"
        with socket.create_server(("127.0.0.1", 0)) as free:
            return f"tcp://127.0.0.1:{free.getsockname()[1]}"

    def _keys(self, folder: Path) -> None:
        (folder / "allowed").mkdir()
        for name in ("daemon", "broker", "us"):
            keys.generate(folder / "keys", name)
        (folder / "allowed" / "us.key").write_bytes(self._public("us").read_bytes())

    def _secret(self, name: str) -> Path:
        return self.folder / "keys" / f"{name}.key_secret"

    def _public(self, name: str) -> Path:
        return self.folder / "keys" / f"{name}.key"


def _after(body: Body, since_ns: int) -> bool:
    return body.valid and body.t_capture_ns is not None and body.t_capture_ns > since_ns
