"""Do the tests notice a fault? ``python -m tests.mutation --sample 300 --seed 1``, on one core, from a clean tree.

Draws places in the rooms below by a seed, changes each in one way (cosmic-ray's operators: other comparisons, numbers,
operators, constants, exceptions, loops that do not run) and runs the room's tests that execute the changed statement,
quickest first, until one fails; a mutant that none notices is printed. All this happens in a copy of the tree in a
temporary folder; what was loaded before a change is forked, so that a run costs what its tests cost.

Needs cosmic-ray, which nothing else here does: ``pip install --target DIR cosmic-ray`` and DIR on PYTHONPATH.
Annotations are not changed: nothing executes them.
"""

from __future__ import annotations

import argparse
import ast
import compileall
import contextlib
import importlib
import json
import os
import py_compile
import random
import shutil
import signal
import sys
import tempfile
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[1]


@dataclass(frozen=True)
class Room:
    """What is changed, and what must notice.

    Attributes:
        name: File or folder of the product.
        tests: Files or folders of tests.
    """

    name: str
    tests: tuple[str, ...]


ROOMS = (
    Room("calibration", ("tests/calibration",)),
    Room("engine/ring.py", ("tests/engine/test_ring.py",)),
    Room("stream/window", ("tests/stream/window", "tests/stream/test_pipeline.py")),
    Room("stream/scores", ("tests/stream/scores", "tests/stream/test_pipeline.py")),
    Room("stream/publish", ("tests/stream/publish",)),
)
FEWEST = 20
"""Places drawn of a room, however small it is, if it has as many."""

_SAME_LENGTH = "both sides are as long as each other"
_SQUARE = "crops are square"
EQUIVALENT: dict[tuple[str, str], str] = {
    (
        "calibration/data/truth.py",
        "return votes[winners[ -1]] if best > 0 and len(winners) == 1 else None",
    ): "one winner",
    ("calibration/evaluate.py", "for name, each in zip(FIGURES, found, strict=False)"): _SAME_LENGTH,
    (
        "calibration/evaluate.py",
        "faces = rows.logits[rows.labels == neutral[ -1]] if neutral else rows.logits[:0]",
    ): "one class is neutral",
    (
        "calibration/fitting/threshold.py",
        "good = np.flatnonzero((bound <= risk) * last)",
    ): "of booleans the product is the conjunction",
    (
        "stream/window/crop.py",
        "[[0, size[0], 0, size[0]], [0, 0, size[1], size[ 0]], [1, 1, 1, 1]], np.float64",
    ): _SQUARE,
    (
        "stream/window/crop.py",
        "[[0, size[0], 0, size[ -1]], [0, 0, size[1], size[1]], [1, 1, 1, 1]], np.float64",
    ): _SQUARE,
    ("stream/window/crop.py", "max(int(round((bottom - top) * factor)), 0),"): "the factor keeps four pixels",
    (
        "stream/publish/keys.py",
        "descriptor = os.open(path, os.O_WRONLY ^ os.O_CREAT | os.O_EXCL, mode)",
    ): "flags of one bit each",
    ("stream/publish/publisher.py", "self._before = -1"): "set before it is read",
    ("stream/publish/publisher.py", 'if request[:1] is b"\\x01":'): "CPython keeps one object of each single byte",
    ("stream/publish/publisher.py", "self._socket.setsockopt(zmq.LINGER, -1)"): "closed with a linger of 0 of its own",
}
"""(file, changed line) of a mutant that no test can tell from the original → why. They count as survivors."""

_PRELOADED = ("numpy", "scipy.optimize", "scipy.stats", "hypothesis", "sklearn.metrics", "sklearn.calibration", "torch",
              "onnx", "onnxscript", "onnxruntime", "cv2", "msgspec", "zmq", "jsonschema", "psutil", "matplotlib.figure",
              "matplotlib.backends.backend_agg")  # fmt: skip
_PACKAGES = ("stream", "engine", "train", "calibration", "tests")
_LEFT_OUT = shutil.ignore_patterns(".*", "__pycache__", "build", "dist", "node_modules")
_AT_IMPORT = ""
"""In place of a test's name: executed while its module is loaded."""


@dataclass(frozen=True)
class Mutant:
    """One change.

    Attributes:
        file: Below the tree's root.
        line: Of the change, from 1.
        operator: cosmic-ray's name.
        old: The line.
        new: The changed line.
        source: The changed file.
    """

    file: str
    line: int
    operator: str
    old: str
    new: str
    source: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}  {self.old}  →  {self.new}"


@dataclass(frozen=True)
class Baseline:
    """The tests of a room, unchanged.

    Attributes:
        seconds: By test.
        tests_of: Tests that execute a line, by file and line; :data:`_AT_IMPORT` where loading does.
    """

    seconds: dict[str, float]
    tests_of: dict[tuple[str, int], set[str]]

    def tests(self, file: str, lines: range) -> list[str]:
        """Tests that execute any of these lines, quickest first; all of them where loading does."""
        found = set().union(*(self.tests_of.get((file, line), set()) for line in lines))
        return sorted(self.seconds if _AT_IMPORT in found else found, key=lambda name: self.seconds[name])


class Watch:
    """A pytest plugin: which test executes which line of some files, and how long each takes."""

    def __init__(self, files: set[str]) -> None:
        self._files, self._test = {str(Path.cwd() / file): file for file in files}, _AT_IMPORT
        self.seconds: dict[str, float] = defaultdict(float)
        self.lines: dict[str, set[tuple[str, int]]] = defaultdict(set)

    def start(self) -> None:
        """Watch this thread and those it starts."""
        threading.settrace(self._trace)
        sys.settrace(self._trace)

    def _trace(self, frame: FrameType, event: str, arg: object) -> Any:
        file = self._files.get(frame.f_code.co_filename)
        if file is None:
            return None
        self.lines[self._test].add((file, frame.f_lineno))
        return self._trace

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Generator[None, object, object]:
        """Note the test at work."""
        self._test = item.nodeid
        sys.settrace(self._trace)
        try:
            return (yield)
        finally:
            self._test = _AT_IMPORT

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Add up a test's phases."""
        self.seconds[report.nodeid] += report.duration


class Quick:
    """A pytest plugin: hypothesis tries the same examples each time and does not simplify a failing one."""

    @pytest.hookimpl(trylast=True)
    def pytest_configure(self) -> None:
        """After the suite's own profile, which this one changes."""
        from hypothesis import Phase, settings

        settings.register_profile(
            "mutation", settings(), database=None, derandomize=True, phases=[Phase.explicit, Phase.generate]
        )
        settings.load_profile("mutation")


def forked(tree: Path, work: Callable[[], int], limit_s: float) -> int | None:
    """Run something in a child that sees the copied tree alone; its code, None if it took too long."""
    child = os.fork()
    if not child:
        code = 70
        with contextlib.suppress(BaseException):
            os.setsid()
            os.chdir(tree)
            sys.path[:] = [str(tree), *(p for p in sys.path if p and Path(p).resolve() != ROOT)]
            os.environ["PYTHONPATH"] = os.pathsep.join(sys.path)
            for name in [name for name in sys.modules if name.split(".")[0] in _PACKAGES]:
                del sys.modules[name]
            with Path(os.devnull).open("w") as nowhere:
                os.dup2(nowhere.fileno(), 1)
                os.dup2(nowhere.fileno(), 2)
            code = work()
        os._exit(code)
    end, status = time.monotonic() + limit_s, None
    try:
        while status is None and time.monotonic() < end:
            ended, code = os.waitpid(child, os.WNOHANG)
            status = code if ended else None
            time.sleep(0.02)
    finally:
        kill_group(child)
    if status is not None:
        return os.waitstatus_to_exitcode(status)
    os.waitpid(child, 0)
    return None


def kill_group(leader: int) -> None:
    """End what a child left behind."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(leader, signal.SIGKILL)


def run_tests(names: list[str], *plugins: object) -> int:
    """pytest's exit code: 0 where all pass."""
    return int(pytest.main(["-x", "-q", "-p", "no:cacheprovider", *names], plugins=[Quick(), *plugins]))


def sources(room: Room) -> list[str]:
    """The room's files."""
    path = ROOT / room.name
    files = [path] if path.is_file() else sorted(path.rglob("*.py"))
    return [str(file.relative_to(ROOT)) for file in files]


def watched(tree: Path, room: Room) -> Baseline:
    """Run a room's tests unchanged.

    Raises:
        SystemExit: If one fails.
    """
    note = tree / "baseline.json"

    def work() -> int:
        watch = Watch(set(sources(room)))
        watch.start()
        code = run_tests(list(room.tests), watch)
        sys.settrace(None)
        values = {"seconds": watch.seconds, "lines": {test: sorted(lines) for test, lines in watch.lines.items()}}
        note.write_text(json.dumps(values), "utf-8")
        return code

    code = forked(tree, work, 900)
    if code != 0:
        raise SystemExit(f"{room.name}: its tests do not pass unchanged (code {code})")
    values = json.loads(note.read_text("utf-8"))
    tests_of: dict[tuple[str, int], set[str]] = defaultdict(set)
    for test, lines in values["lines"].items():
        for file, line in lines:
            tests_of[file, line].add(test)
    return Baseline(values["seconds"], dict(tests_of))


def statements(tree: ast.AST) -> Iterator[range]:
    """The lines of each statement, of a compound one those of its head; outer ones first."""
    for node in ast.walk(tree):
        if isinstance(node, ast.stmt):
            body = getattr(node, "body", None)
            end = body[0].lineno - 1 if isinstance(body, list) and body else node.end_lineno or node.lineno
            start = min([node.lineno, *(each.lineno for each in getattr(node, "decorator_list", ()))])
            yield range(start, max(end, node.lineno) + 1)


def unread(tree: ast.AST) -> Iterator[ast.expr]:
    """What is only read by people and type checkers."""
    for node in ast.walk(tree):
        for name in ("annotation", "returns"):
            found = getattr(node, name, None)
            if isinstance(found, ast.expr):
                yield found


def places(file: str) -> dict[tuple[int, int, str], list[tuple[str, int]]]:
    """What can be changed in a file: (line, column, kind of change) → (operator, its occurrence)."""
    plugins, trees = importlib.import_module("cosmic_ray.plugins"), importlib.import_module("cosmic_ray.ast")
    source = (ROOT / file).read_text("utf-8")
    skipped = [((a.lineno, a.col_offset), (a.end_lineno, a.end_col_offset)) for a in unread(ast.parse(source))]
    nodes = list(trees.ast_nodes(trees.get_ast(source)))
    found: dict[tuple[int, int, str], list[tuple[str, int]]] = defaultdict(list)
    for name in sorted(plugins.operator_names()):
        kind = plugins.get_operator(name)
        if kind.arguments():
            continue
        starts = [start for node in nodes for start, _ in kind().mutation_positions(node)]
        for occurrence, (line, column) in enumerate(starts):
            if not any(begin <= (line, column) < end for begin, end in skipped):
                found[line, column, name.split("_")[0]].append((name, occurrence))
    return found


def changed(file: str, line: int, name: str, occurrence: int) -> Mutant | None:
    """The mutant; None where nothing changes or Python cannot read it."""
    plugins, mutating = importlib.import_module("cosmic_ray.plugins"), importlib.import_module("cosmic_ray.mutating")
    source = (ROOT / file).read_text("utf-8")
    try:
        # cosmic-ray 8.7 cannot replace a dotted name in `except`: AttributeError.
        new = mutating.mutate_code(source, plugins.get_operator(name)(), occurrence)
        if new is None or ast.dump(ast.parse(new)) == ast.dump(ast.parse(source)):
            return None
    except (SyntaxError, AttributeError):
        return None
    lines, now = source.splitlines(), new.splitlines()
    # A decorator that went shortens the file: then its own line says it all.
    text = now[line - 1].strip() if len(lines) == len(now) else "(gone)"
    return Mutant(file, line, name, lines[line - 1].strip(), text, new)


def drawn(room: Room, count: int, seed: int) -> list[Mutant]:
    """Mutants of a room: places by the seed, one change at each, so that no place counts more for having many."""
    dice = random.Random(f"{seed} {room.name}")
    all_places = [(file, *place, ways) for file in sources(room) for place, ways in sorted(places(file).items())]
    dice.shuffle(all_places)
    mutants: list[Mutant] = []
    for file, line, _, _, ways in all_places:
        if len(mutants) == count:
            break
        made = next(filter(None, (changed(file, line, *way) for way in dice.sample(ways, len(ways)))), None)
        if made is not None:
            mutants.append(made)
    return mutants


def shares(sample: int) -> dict[str, int]:
    """How many of the sample fall to each room, by its number of places and at least :data:`FEWEST`."""
    sizes = {room.name: sum(len(places(file)) for file in sources(room)) for room in ROOMS}
    least = {name: min(FEWEST, size, sample) for name, size in sizes.items()}
    rest = max(sample - sum(least.values()), 0)
    return {name: min(least[name] + -(-rest * size // sum(sizes.values())), size) for name, size in sizes.items()}


def judge(tree: Path, mutant: Mutant, baseline: Baseline) -> str:
    """``killed``, ``timeout`` (which counts as killed) or ``survived``."""
    heads = [lines for lines in statements(ast.parse((ROOT / mutant.file).read_text("utf-8"))) if mutant.line in lines]
    names = baseline.tests(mutant.file, heads[-1] if heads else range(mutant.line, mutant.line + 1))
    if not names:
        return "survived"
    target = tree / mutant.file
    original = target.read_bytes()
    target.write_text(mutant.source, "utf-8")
    try:
        code = forked(tree, lambda: run_tests(names), 20 + 5 * sum(baseline.seconds[name] for name in names))
    finally:
        target.write_bytes(original)
    return "timeout" if code is None else "survived" if code == 0 else "killed"


def main(arguments: list[str] | None = None) -> int:
    """Run it: 0 where at least 85 % were killed, else 1."""
    parser = argparse.ArgumentParser(prog="python -m tests.mutation", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--sample", type=int, default=300, help="mutants over all rooms (300)")
    parser.add_argument("--seed", type=int, default=1, help="of the draw (1)")
    parser.add_argument("--rooms", nargs="+", choices=[room.name for room in ROOMS], help="only these, each its share")
    given = parser.parse_args(arguments)
    try:
        importlib.import_module("cosmic_ray.plugins")
    except ImportError:
        print("mutation: needs cosmic-ray; pip install --target DIR cosmic-ray, and DIR on PYTHONPATH", file=sys.stderr)
        return 2
    os.nice(10)
    # So that the copy goes with whoever ends this.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    os.environ |= dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    os.environ.setdefault("DFER_SHARED_DATA", str(ROOT.parent / "shared" / "data"))
    counts, share = Counter[str](), shares(given.sample)
    with tempfile.TemporaryDirectory(prefix="mutation-") as folder:
        tree = Path(folder) / "tree"
        shutil.copytree(ROOT, tree, ignore=_LEFT_OUT)
        # By hash: a changed file of equal size and time must not be taken for the old one.
        compileall.compile_dir(tree, quiet=2, invalidation_mode=py_compile.PycInvalidationMode.CHECKED_HASH)
        for name in _PRELOADED:
            with contextlib.suppress(ImportError):
                importlib.import_module(name)
        for room in ROOMS:
            if given.rooms and room.name not in given.rooms:
                continue
            baseline, of_room = watched(tree, room), Counter[str]()
            for mutant in drawn(room, share[room.name], given.seed):
                verdict = judge(tree, mutant, baseline)
                of_room[verdict] += 1
                if verdict == "survived":
                    reason = EQUIVALENT.get((mutant.file, mutant.new))
                    of_room["equivalent"] += reason is not None
                    print(f"  {mutant}" + (f"  (equivalent: {reason})" if reason else ""), flush=True)
            counts += of_room
            print(_line(room.name, of_room), flush=True)
    print(_line("all", counts))
    return int(counts["survived"] > 0.15 * _total(counts))


def _total(counts: Counter[str]) -> int:
    return counts["killed"] + counts["timeout"] + counts["survived"]


def _line(name: str, counts: Counter[str]) -> str:
    total = _total(counts)
    share = (total - counts["survived"]) / max(total, 1)
    ends = f"{counts['killed']} killed, {counts['timeout']} too slow, {counts['survived']} survived"
    return f"{name}: {total} mutants, {ends} ({counts['equivalent']} of them equivalent): {share:.1%} noticed"


if __name__ == "__main__":
    sys.exit(main())
