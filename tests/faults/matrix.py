"""``python -m tests.faults.matrix``: every kind of fault into every part of the chain, and what each costs.

A cell's recovery is the time from the fault's end (where it has none: its beginning) until a picture taken after that
has got as far as the part; for the recorder, until the first one that it keeps was published. A program that ended is
started again after a second, as its unit has it, and that second counts. Of the messages that recorder and subscriber
lack, those between two they have must be as many as they said, and those around a restart no older than a second.
"""

from __future__ import annotations

import argparse
import json
import random
import re
import sys
import tempfile
import threading
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from statistics import median

from engine.console import Exit, guarded
from tests.faults.cells import KINDS, Kind, NotHereError, WallClocks
from tests.faults.chain import TARGETS, Chain
from tests.faults.namespaces import inside
from tests.faults.observer import Body
from tests.faults.programs import end_kindly, now_ns

LONGEST_S = 60.0
"""A recovery that takes longer is none."""
LIMIT_S = 2.0
"""Median recovery that is allowed."""
UNSYNCED_NS = 1_500_000_000
"""A killed recorder loses its last second, and half of another while it writes."""
_SAID = re.compile(r"^(?:-- |.*faces/\S+: )(\d+) messages lost", re.MULTILINE)


@dataclass(frozen=True)
class Run:
    """One fault.

    Attributes:
        kind: Of the fault.
        target: What it met.
        seed: Of the run.
        recovery_s: None where the part did not come back.
        said: Messages that recorder and subscriber lost and said so.
        outage: Messages that passed while one of them was away or coming back.
        silent: Messages lost otherwise.
        old: Of the outage, what was published longer before a fault than a kill may cost.
        impossible: Why this machine has no means for it; empty where it has.
    """

    kind: str
    target: str
    seed: int
    recovery_s: float | None = None
    said: int = 0
    outage: int = 0
    silent: int = 0
    old: int = 0
    impossible: str = ""


@dataclass(frozen=True)
class Losses:
    """What a reader lacks.

    Attributes:
        gaps: Messages missing between two that one run of it has.
        outage: Missing around its restarts.
        old: Of those, published longer before the fault than a kill may cost.
    """

    gaps: int = 0
    outage: int = 0
    old: int = 0


def losses(bodies: Sequence[Body], since_ns: int, fault_ns: int, started_ns: Sequence[int]) -> Losses:
    """Count what is missing among messages of one source, in order.

    Args:
        bodies: What the reader has.
        since_ns: Only what was published after then.
        fault_ns: When the fault began.
        started_ns: When each run of the reader began.
    """
    gaps = outage = old = 0
    for one, other in pairwise(each for each in bodies if each.t_publish_ns > since_ns):
        missing = other.seq - one.seq - 1
        if one.session != other.session or missing <= 0:
            continue
        if any(one.t_publish_ns < each < other.t_publish_ns for each in started_ns):
            outage += missing
            early_ns = fault_ns - UNSYNCED_NS - one.t_publish_ns
            step_ns = (other.t_publish_ns - one.t_publish_ns) / (missing + 1)
            old += max(int(early_ns / step_ns), 0)
        else:
            gaps += missing
    return Losses(gaps, outage, old)


def attempt(chain: Chain, kind: Kind, target: str, seed: int) -> Run:
    """Put a fault into the chain, wait until it is whole again, and count."""
    before_ns = now_ns()
    if not _until(lambda: chain.all_well(before_ns), LONGEST_S):
        raise TimeoutError(f"the chain was not well before {kind.name} of the {target}\n{_logs(chain)}")
    said_before = [_said(chain, name) for name in ("recorder", "subscriber")]
    fault_ns = now_ns()
    pause = threading.Event()
    try:
        with kind.hold(chain, target, seed):
            recovered = _recovery(chain, target, fault_ns) if kind.at_once else None
            pause.wait(kind.holds_s)
    except NotHereError as error:
        return Run(kind.name, target, seed, impossible=str(error))
    if not kind.at_once:
        recovered = _recovery(chain, target, now_ns())
    whole_ns = now_ns()
    _until(lambda: chain.all_well(whole_ns), LONGEST_S)
    found = {
        "recorder": losses(chain.recorded(), before_ns, fault_ns, chain.programs["recorder"].started_ns),
        "subscriber": losses(chain.heard, before_ns, fault_ns, chain.programs["subscriber"].started_ns),
    }
    said = [_said(chain, name) - before for name, before in zip(found, said_before, strict=True)]
    silent = sum(max(each.gaps - told, 0) for each, told in zip(found.values(), said, strict=True))
    outage, old = (sum(getattr(each, name) for each in found.values()) for name in ("outage", "old"))
    took_s = None if recovered is None else round(recovered, 2)
    return Run(kind.name, target, seed, took_s, sum(said), outage, silent, old)


def table(runs: Sequence[Run]) -> str:
    """Medians and worst recoveries, s, as Markdown."""
    lines = ["| fault | " + " | ".join(TARGETS) + " |", "|---" * (len(TARGETS) + 1) + "|"]
    for kind in KINDS:
        row = [kind.name]
        for target in TARGETS:
            cell = [run for run in runs if (run.kind, run.target) == (kind.name, target)]
            row.append(_cell(cell))
        if any(word != "–" for word in row[1:]):
            lines.append("| " + " | ".join(row) + " |")
    return "\n".join(lines)


def holds(runs: Sequence[Run]) -> bool:
    """Whether every part came back, in the median within the limit, and nothing was lost in silence."""
    cells: dict[tuple[str, str], list[float]] = {}
    for run in runs:
        if not run.impossible:
            cells.setdefault((run.kind, run.target), []).append(LONGEST_S if run.recovery_s is None else run.recovery_s)
    return all(median(each) <= LIMIT_S for each in cells.values()) and not any(run.silent + run.old for run in runs)


def _cell(runs: Sequence[Run]) -> str:
    done = [LONGEST_S if run.recovery_s is None else run.recovery_s for run in runs if not run.impossible]
    if not done:
        return "not here" if runs else "–"
    silent = sum(run.silent + run.old for run in runs)
    return f"{median(done):.1f} / {max(done):.1f}" + (f", {silent} lost in silence" if silent else "")


def _recovery(chain: Chain, target: str, since_ns: int) -> float | None:
    if not _until(lambda: chain.passed(target, since_ns), LONGEST_S):
        return None
    # What is recorded is on the disk up to a second after it was heard.
    until_ns = chain.kept_from(since_ns) if target == "recorder" else now_ns()
    return (until_ns - since_ns) / 1e9


def _until(done: Callable[[], bool], seconds: float) -> bool:
    pause, until_ns = threading.Event(), now_ns() + int(seconds * 1e9)
    while not done():
        if now_ns() > until_ns:
            return False
        pause.wait(0.03)
    return True


def _said(chain: Chain, name: str) -> int:
    return sum(map(int, _SAID.findall(chain.programs[name].said())))


def _logs(chain: Chain) -> str:
    return "\n".join(f"{name}: {program.said()[-300:]}" for name, program in chain.programs.items())


def _chosen(wanted: Sequence[str]) -> list[tuple[Kind, str]]:
    every = [(kind, target) for kind in KINDS for target in TARGETS]
    if not wanted:
        return every
    return [
        (kind, target)
        for kind, target in every
        if any(kind.name.startswith(a) and target.startswith(b) for a, _, b in (each.partition(":") for each in wanted))
    ]


def _play(options: argparse.Namespace, apart: bool) -> list[Run]:
    runs: list[Run] = []
    with tempfile.TemporaryDirectory(prefix="faults-") as folder:
        chain = Chain(Path(folder), apart, options.bundle, WallClocks(Path(folder)).environment)
        try:
            for seed in range(options.seeds):
                cells = _chosen(options.cells)
                random.Random(seed).shuffle(cells)
                for kind, target in cells:
                    runs.append(attempt(chain, kind, target, seed))
                    print(json.dumps(asdict(runs[-1])), flush=True)
        finally:
            if options.logs is not None:
                options.logs.mkdir(parents=True, exist_ok=True)
                for name, program in chain.programs.items():
                    (options.logs / f"{name}.err").write_text(program.said())
            chain.close()
    return runs


def main() -> int:
    """Command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults.matrix", description=__doc__)
    parser.add_argument("--seeds", type=int, default=5, help="times that each cell is tried (5)")
    parser.add_argument("--cells", nargs="+", default=[], metavar="KIND:TARGET", help="beginnings, as in kill:broker")
    parser.add_argument("--bundle", type=Path, help="of the daemon, instead of the default model")
    parser.add_argument("--logs", type=Path, help="folder for what the programs said")
    options = parser.parse_args()
    end_kindly()
    apart = inside("tests.faults.matrix", sys.argv[1:])
    runs = _play(options, apart)
    print(table(runs))
    print(f"messages lost and said so: {sum(run.said for run in runs)}; in outages: {sum(run.outage for run in runs)}")
    return Exit.DONE if holds(runs) else Exit.PARTLY


if __name__ == "__main__":
    raise SystemExit(guarded("matrix", main))
