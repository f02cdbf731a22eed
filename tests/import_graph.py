"""Draw who imports whom, room by room: ``python -m tests.import_graph OUT.dot``.

A room is a package's folder or a module at its top. An arrow runs from the importer to what it imports; its weight is
the number of module imports. The layers are those of the contracts in ``pyproject.toml``.
"""

from __future__ import annotations

import argparse
from collections import Counter
from pathlib import Path

import grimp

PACKAGES = ("train", "stream", "calibration", "engine")


def room_of(module: str) -> str:
    """``stream.camera.drivers.file`` lies in ``stream.camera``."""
    return ".".join(module.split(".")[:2])


def arrows(graph: grimp.ImportGraph) -> Counter[tuple[str, str]]:
    """How many imports lead from one room to another, by pair."""
    found: Counter[tuple[str, str]] = Counter()
    for module in graph.modules:
        for imported in graph.find_modules_directly_imported_by(module):
            pair = room_of(module), room_of(imported)
            if pair[0] != pair[1]:
                found[pair] += 1
    return found


def to_dot(found: Counter[tuple[str, str]]) -> str:
    """The graph in Graphviz' language, one cluster a package."""
    lines = ["digraph imports {", '  rankdir=TB; node [shape=box, fontname="sans-serif"]; edge [color="#888888"];']
    rooms = sorted({room for pair in found for room in pair})
    for package in PACKAGES:
        lines.append(f'  subgraph "cluster_{package}" {{ label="{package}";')
        lines += [
            f'    "{room}" [label="{room.partition(".")[2] or package}"];'
            for room in rooms
            if room.split(".")[0] == package
        ]
        lines.append("  }")
    lines += [f'  "{a}" -> "{b}" [penwidth={1 + min(count, 20) / 8:.2f}];' for (a, b), count in sorted(found.items())]
    return "\n".join([*lines, "}"]) + "\n"


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.import_graph", description=__doc__)
    parser.add_argument("out", type=Path, help="DOT file to write")
    graph = grimp.build_graph(*PACKAGES)
    parser.parse_args().out.write_text(to_dot(arrows(graph)), "utf-8")


if __name__ == "__main__":
    main()
