"""``python -m tests.faults.soak``: cameras, broker, recorder and subscriber through faults every ten seconds.

A slot of ten seconds begins with a fault that lasts at most four. Before the next one everything must be as it was:
every source valid at the broker, and resident memory, descriptors, threads and children are sampled. The judgement is
over the samples after a fifth of the run, by when every kind of fault has been met.
"""

from __future__ import annotations

import argparse
import json
import random
import signal
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil
import zmq

from engine.console import Exit, guarded
from stream.subscribe.connect import connect
from tests.faults.camera import FaultyCamera, demo_jpegs
from tests.faults.judge import judge, picture
from tests.faults.observer import Observer
from tests.faults.programs import Program, cpu_s, dfer_stream, end_kindly, now_ns

SLOT_S = 10.0
HEALED_S = 60.0
"""Longest that a source may take to come back; later than its slot is said, later than this ends the run."""


@dataclass(frozen=True)
class Sample:
    """The daemons at the end of a slot, each an element.

    Attributes:
        t_s: Since the run began.
        fault: What the slot began with.
        healed_s: From the fault's end until every source was valid at the broker.
        rss_mb: Resident memory of the daemon alone, MB.
        children_mb: Of its children, MB.
        descriptors: Open ones.
        threads: Of the daemon.
        children: Processes below it.
        starts: How often each daemon was started: 1.
    """

    t_s: float
    fault: str
    healed_s: float
    rss_mb: list[float]
    children_mb: list[float]
    descriptors: list[int]
    threads: list[int]
    children: list[int]
    starts: list[int]


class Rig:
    """What runs: daemons with a camera each, and behind them broker, recorder and subscriber.

    Args:
        cameras: How many.
        hz: Pictures a second of each.
        folder: For sockets, logs and recordings.
        bundle: Of the daemons; None for the default model.
        together: One daemon for all cameras, instead of one each.
    """

    def __init__(self, cameras: int, hz: float, folder: Path, bundle: Path | None, together: bool) -> None:
        self._stack = ExitStack()
        pictures = demo_jpegs()
        self.cameras = [FaultyCamera(pictures, hz) for _ in range(cameras)]
        urls = [self._stack.enter_context(camera.serving()).url() for camera in self.cameras]
        self.sources = {f"faces/cam{k}" for k in range(cameras)}
        model = ["--threads", "1", *(["--bundle", str(bundle)] if bundle else [])]
        if together:
            sources = [word for k, url in enumerate(urls) for word in ("--source", f"cam{k}={url}")]
            plans = {"daemon": [*sources, "--bind", f"ipc://{folder}/daemon.ipc"]}
        else:
            plans = {
                f"cam{k}": ["--source", url, "--source-name", f"cam{k}", "--bind", f"ipc://{folder}/cam{k}.ipc"]
                for k, url in enumerate(urls)
            }
        self.daemons = [
            Program(name, dfer_stream("run", "--quiet", *model, *words), folder) for name, words in plans.items()
        ]
        ups = [f"ipc://{folder}/{name}.ipc" for name in plans]
        self.endpoint = f"ipc://{folder}/broker.ipc"
        self.broker = Program("broker", dfer_stream("broker", *ups, "--bind", self.endpoint), folder)
        keeping = ["--endpoint", self.endpoint, "--quota", "20M", "--part", "60"]
        self.recorder = Program("recorder", dfer_stream("record", folder / "kept", *keeping), folder)
        self.subscriber = Program("subscriber", dfer_stream("listen", self.endpoint), folder)
        self.programs = [*self.daemons, self.broker, self.recorder, self.subscriber]
        for program in self.programs:
            self._stack.callback(program.stop)
            program.start()
        self.observer = Observer(self.endpoint)
        self._stack.callback(self.observer.close)

    def valid_since(self, ns: int) -> bool:
        """Whether every source's picture of after then has come through."""
        seen = {
            each.topic
            for each in self.observer.since(ns)
            if each.body.valid and each.body.t_capture_ns is not None and each.body.t_capture_ns > ns
        }
        return seen >= self.sources

    def sample(self, t_s: float, fault: str, healed_s: float) -> Sample:
        """The daemons now."""
        found = [psutil.Process(program.pid) for program in self.daemons]
        below = [process.children(recursive=True) for process in found]
        return Sample(
            round(t_s, 1),
            fault,
            round(healed_s, 2),
            [round(process.memory_info().rss / 1e6, 2) for process in found],
            [round(sum(child.memory_info().rss for child in children) / 1e6, 2) for children in below],
            [process.num_fds() for process in found],
            [process.num_threads() for process in found],
            [len(children) for children in below],
            [len(program.started_ns) for program in self.daemons],
        )

    def close(self) -> None:
        """End everything."""
        self._stack.close()


@dataclass(frozen=True)
class Fault:
    """Something that happens.

    Attributes:
        name: For people.
        begin: Makes it happen.
        lasts_s: How long.
        end: Undoes it.
    """

    name: str
    begin: Callable[[], object]
    lasts_s: float = 0.0
    end: Callable[[], object] = lambda: None


def faults(rig: Rig, chances: random.Random) -> Iterator[Fault]:
    """Every kind once in an order by chance, then again, for ever; each before a camera and a daemon by chance."""
    while True:
        kinds = [_camera(rig, chances, mode) for mode in ("gone", "silent", "frozen", "damaged", "larger")]
        child = chances.choice(rig.daemons).children
        daemon = chances.choice(rig.daemons)
        kinds += [
            Fault("capture killed", lambda child=child: [each.kill() for each in child()[:1]]),  # type: ignore[misc]
            _stopped("daemon stopped", daemon),
            _stopped("subscriber stopped", rig.subscriber),
            _stopped("recorder stopped", rig.recorder),
            *(
                Fault(f"{each.name} killed", lambda each=each: each.signal(signal.SIGKILL))  # type: ignore[misc]
                for each in (rig.broker, rig.recorder, rig.subscriber)
            ),
            Fault("subscribers come and go", lambda: _crowd(rig.endpoint, chances.randrange(10, 30))),
        ]
        chances.shuffle(kinds)
        yield from kinds


def _camera(rig: Rig, chances: random.Random, mode: str) -> Fault:
    camera = chances.choice(rig.cameras)

    def put(wanted: str) -> None:
        camera.mode = wanted

    return Fault(f"camera {mode}", lambda: put(mode), chances.uniform(1, 4), lambda: put("ok"))


def _stopped(name: str, program: Program) -> Fault:
    return Fault(name, lambda: program.signal(signal.SIGSTOP), 3.0, lambda: program.signal(signal.SIGCONT))


def _crowd(endpoint: str, count: int) -> None:
    with zmq.Context() as context:
        for _ in range(count):
            with connect(context, endpoint, [b"faces/"]) as one:
                one.poll(200)


@contextmanager
def running(cameras: int, hz: float, folder: Path, bundle: Path | None, together: bool) -> Iterator[Rig]:
    """A rig whose every source is heard."""
    rig = Rig(cameras, hz, folder, bundle, together)
    try:
        _wait(lambda: rig.valid_since(0), 120.0, rig)
        yield rig
    finally:
        rig.close()


def soak(rig: Rig, seconds: float, slot_s: float, seed: int, tell: Callable[[Sample], None]) -> list[Sample]:
    """Faults one after the other until the time is over; a sample for each."""
    pause, samples, begun_ns = threading.Event(), list[Sample](), now_ns()
    for fault in faults(rig, random.Random(seed)):
        slot_ns = now_ns()
        if slot_ns - begun_ns >= seconds * 1e9:
            return samples
        fault.begin()
        pause.wait(fault.lasts_s)
        fault.end()
        ended_ns = now_ns()
        _wait(lambda ended_ns=ended_ns: rig.valid_since(ended_ns), HEALED_S, rig)  # type: ignore[misc]
        healed_s = (now_ns() - ended_ns) / 1e9
        pause.wait(max(slot_s - (now_ns() - slot_ns) / 1e9, 0.0))
        samples.append(rig.sample((now_ns() - begun_ns) / 1e9, fault.name, healed_s))
        tell(samples[-1])
    raise AssertionError


def _wait(done: Callable[[], bool], seconds: float, rig: Rig) -> None:
    pause, until_ns = threading.Event(), now_ns() + int(seconds * 1e9)
    while not done():
        if now_ns() > until_ns:
            said = "\n".join(f"{program.name}: {program.said()[-300:]}" for program in rig.programs)
            raise TimeoutError(f"a source did not come back within {seconds:g} s\n{said}")
        pause.wait(0.02)


def main() -> int:
    """Command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults.soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--cameras", type=int, default=4)
    parser.add_argument("--hz", type=float, default=10.0, help="pictures a second of each camera")
    parser.add_argument("--slot", type=float, default=SLOT_S, help="a fault every this many seconds")
    parser.add_argument("--together", action="store_true", help="one daemon for all cameras, instead of one each")
    parser.add_argument("--bundle", type=Path, help="instead of the default model")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", type=Path, required=True, help="folder for samples.jsonl, soak.png and the logs")
    options = parser.parse_args()
    end_kindly()
    options.out.mkdir(parents=True, exist_ok=True)
    # The socket's name would be too long in many a folder.
    with (options.out / "samples.jsonl").open("w") as lines, tempfile.TemporaryDirectory(prefix="soak-") as folder:

        def tell(sample: Sample) -> None:
            print(json.dumps(asdict(sample)), file=lines, flush=True)

        args = (options.cameras, options.hz, Path(folder), options.bundle, options.together)
        with running(*args) as rig:
            me = psutil.Process()
            before_s = [cpu_s(psutil.Process(program.pid)) for program in rig.daemons]
            samples = soak(rig, options.minutes * 60, options.slot, options.seed, tell)
            spent_s = [
                cpu_s(psutil.Process(program.pid)) - before
                for program, before in zip(rig.daemons, before_s, strict=True)
            ]
            print(f"daemons: {sum(spent_s) / samples[-1].t_s:.3f} cores; harness and cameras {cpu_s(me):.0f} s CPU")
            for program in rig.programs:
                (options.out / f"{program.name}.err").write_text(program.said())
        verdict = judge([asdict(sample) for sample in samples])
        (options.out / "verdict.json").write_text(json.dumps(verdict, indent=2) + "\n")
        picture([asdict(sample) for sample in samples], options.out / "soak.png")
    print(json.dumps(verdict, indent=2))
    return Exit.DONE if verdict["holds"] else Exit.PARTLY


if __name__ == "__main__":
    raise SystemExit(guarded("soak", main))
