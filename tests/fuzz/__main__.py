"""``python -m tests.fuzz``: damaged and invented input for every reader, guided by the coverage of our own code.

Needs atheris (libFuzzer for Python), which is no part of ``dev``: ``pip install 'dferstream[fuzz]'``. What reached new
code is kept in ``corpus/`` on request; the tests read it again on every run. A finding is left beside, as
``crash-…``, with its traceback on the terminal. An input may take a second of CPU.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import time
from pathlib import Path

from engine.console import Exit, guarded

CORPUS = Path(__file__).with_name("corpus")
NAMES = ("settings", "bundle", "key", "zap", "recording", "chunk", "wire", "mjpeg")
SLOW_S = 1.0
_MOST_MB = 800
_LONGEST = 4096


def fuzz(name: str, runs: int, seed: int, work: Path) -> None:
    """Fuzz one reader in this process, which libFuzzer ends."""
    import atheris

    with atheris.instrument_imports(include=["stream", "engine"]):
        from tests.fuzz.targets import TARGETS, seeds
    target, folder = TARGETS[name], work / name
    folder.mkdir(parents=True, exist_ok=True)
    for number, good in enumerate(seeds(name)):
        (folder / f"seed-{number}").write_bytes(good[:_LONGEST])

    def timed(data: bytes) -> None:
        begun_s = time.process_time()
        target(data)
        took_s = time.process_time() - begun_s
        assert took_s < SLOW_S, f"{took_s:.1f} s of CPU for one input"

    flags = [f"-runs={runs}", f"-seed={seed}", f"-max_len={_LONGEST}", "-timeout=60", f"-rss_limit_mb={_MOST_MB}"]
    flags += [f"-artifact_prefix={work}/{name}-", "-print_final_stats=1"]
    atheris.Setup([sys.argv[0], *flags, str(folder), str(CORPUS / name)], timed)
    atheris.Fuzz()


def main() -> int:
    """Command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="READER", help=f"of {', '.join(NAMES)} (all)")
    parser.add_argument("--runs", type=int, default=26_000, help="inputs for each reader")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--work", type=Path, default=Path(".cache/fuzz"), help="new inputs and findings")
    parser.add_argument("--keep", type=int, default=0, help="add this many of the new inputs, the smallest, to corpus/")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        fuzz(options.one, options.runs, options.seed, options.work)
        return Exit.DONE
    failed = []
    for name in options.names or NAMES:
        (CORPUS / name).mkdir(parents=True, exist_ok=True)
        options.work.mkdir(parents=True, exist_ok=True)
        words = ["--one", name, "--runs", str(options.runs), "--seed", str(options.seed), "--work", str(options.work)]
        begun_s, before = time.monotonic(), resource.getrusage(resource.RUSAGE_CHILDREN)
        done = subprocess.run([sys.executable, "-m", "tests.fuzz", *words], capture_output=True, text=True, check=False)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        stats = {
            key.rstrip(":"): value.strip()
            for key, _, value in (
                line.rpartition(":") for line in done.stderr.splitlines() if line.startswith("stat::")
            )
        }
        cpu_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        found = done.returncode != 0
        print(
            f"{name}: {stats.get('stat::number_of_executed_units', '?')} inputs, "
            f"{stats.get('stat::new_units_added', '?')} reached new code, "
            f"peak {stats.get('stat::peak_rss_mb', '?')} MB, "
            f"{cpu_s:.0f} s CPU in {time.monotonic() - begun_s:.0f} s{'; FOUND' if found else ''}",
            flush=True,
        )
        fresh = sorted((options.work / name).iterdir(), key=lambda path: (path.stat().st_size, path.name))
        for path in fresh[: options.keep]:
            (CORPUS / name / path.name).write_bytes(path.read_bytes())
        if found:
            failed.append(name)
            print(done.stdout[-3000:], done.stderr[-1500:])
    return Exit.PARTLY if failed else Exit.DONE


if __name__ == "__main__":
    raise SystemExit(guarded("fuzz", main))
