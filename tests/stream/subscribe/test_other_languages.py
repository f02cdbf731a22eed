from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import jsonschema
import pytest

from stream.publish.message import Faces
from stream.publish.wire import decode, schema_path

HERE = Path(__file__).resolve().parents[2] / "subscribers"
Feed = Callable[..., tuple[str, "subprocess.Popen[str]"]]
COUNT = 200
# Beyond any camera, and slow enough that a machine which stalls for a quarter of a second loses none of them.
HZ = 50.0


@pytest.fixture(scope="session")
def node() -> str:
    """Node with its packages, installed from the lock file where they are not yet."""
    program, npm = shutil.which("node"), shutil.which("npm")
    if program is None or npm is None:
        pytest.skip("node and npm are not installed (apt-get install nodejs npm); the C subscriber covers the claim")
    if not (HERE / "node_modules" / "zeromq").is_dir():
        command = [npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund"]
        done = subprocess.run(command, cwd=HERE, capture_output=True, text=True, timeout=240)
        if done.returncode:
            pytest.skip(f"npm could not install zeromq: {done.stderr.strip().splitlines()[-1:]}")
    return program


def compiled(folder: Path, source: str, compilers: tuple[str, ...], header: str, packages: str) -> str:
    """The program of a source file beside the others; the test is skipped where this machine cannot compile it."""
    compiler = next(filter(None, map(shutil.which, compilers)), None)
    if compiler is None:
        pytest.skip(f"no {compilers[0]} (apt-get install {packages}); the Node subscriber covers the claim")
    out = folder / "subscriber"
    command = [compiler, "-Wall", "-Wextra", "-Werror", "-o", str(out), str(HERE / source), "-lzmq"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    if header in done.stderr:
        pytest.skip(f"no {header} (apt-get install {packages}); the Node subscriber covers the claim")
    assert done.returncode == 0, done.stderr
    return str(out)


@pytest.fixture(scope="session")
def c_subscriber(tmp_path_factory: pytest.TempPathFactory) -> str:
    packages = "gcc libc6-dev libzmq3-dev"
    return compiled(tmp_path_factory.mktemp("c"), "subscriber.c", ("cc", "gcc"), "zmq.h", packages)


@pytest.fixture(scope="session")
def cpp_subscriber(tmp_path_factory: pytest.TempPathFactory) -> str:
    packages = "g++ libzmq3-dev cppzmq-dev"
    return compiled(tmp_path_factory.mktemp("cpp"), "subscriber.cpp", ("c++", "g++"), "zmq.hpp", packages)


def hear(command: list[str], count: int) -> list[str]:
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        lines = [child.stdout.readline() for _ in range(count)]
        child.kill()
    return lines


def check(lines: list[str]) -> None:
    validator = jsonschema.Draft202012Validator(json.loads(schema_path("faces").read_text()))
    seqs = []
    for line in lines:
        validator.validate(json.loads(line))
        seqs.append(decode(line, Faces).seq)
    assert seqs == list(range(seqs[0], seqs[0] + len(lines)))


@pytest.mark.parametrize("transport", ["ipc", "tcp"])
def test_node_reads_every_message_and_its_own_validator_accepts_them(
    tmp_path: Path, feed: Feed, node: str, transport: str
) -> None:
    endpoint, _ = feed(f"ipc://{tmp_path}/a.ipc" if transport == "ipc" else "tcp://127.0.0.1:*", hz=HZ)
    lines = hear([node, str(HERE / "subscriber.mjs"), endpoint], COUNT)
    check(lines)
    command = [node, str(HERE / "validate.mjs"), str(schema_path("faces"))]
    done = subprocess.run(command, input="".join(lines), capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) == COUNT
    broken = json.loads(lines[0]) | {"seq": -1}
    refused = subprocess.run(command, input=json.dumps(broken) + "\n", capture_output=True, text=True, timeout=120)
    assert refused.returncode == 1


@pytest.mark.parametrize("transport", ["ipc", "tcp"])
def test_c_reads_every_message(tmp_path: Path, feed: Feed, c_subscriber: str, transport: str) -> None:
    endpoint, _ = feed(f"ipc://{tmp_path}/a.ipc" if transport == "ipc" else "tcp://127.0.0.1:*", hz=HZ)
    check(hear([c_subscriber, endpoint], COUNT))


def test_cpp_reads_every_message(tmp_path: Path, feed: Feed, cpp_subscriber: str) -> None:
    endpoint, _ = feed(f"ipc://{tmp_path}/a.ipc", hz=HZ)
    check(hear([cpp_subscriber, endpoint], COUNT))
    events = [json.loads(line)["event"] for line in hear([cpp_subscriber, endpoint, "event/cam1 "], 2)]
    assert events == ["face_new", "face_new"]


@pytest.mark.parametrize("kind", ["faces", "status", "event", "driver"])
def test_node_compiles_every_schema(node: str, kind: str) -> None:
    command = [node, str(HERE / "validate.mjs"), str(schema_path(kind))]
    done = subprocess.run(command, input="", capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stdout) == (0, "0\n"), done.stderr


def test_the_readme_shows_a_subscriber_of_ten_lines() -> None:
    code = (HERE / "subscriber.mjs").read_text().splitlines()
    assert len([line for line in code if line.strip() and not line.startswith("//")]) <= 10


@pytest.mark.parametrize("language", ["node", "c", "cpp"])
def test_every_message_of_a_run_fits_the_schema_in_another_language(
    tmp_path: Path, request: pytest.FixtureRequest, small_bundle: Callable[[str], Path], language: str
) -> None:
    if language == "node":
        command = [request.getfixturevalue("node"), str(HERE / "subscriber.mjs")]
    else:
        command = [request.getfixturevalue(f"{language}_subscriber")]
    endpoint = f"ipc://{tmp_path}/run.ipc"
    run = [sys.executable, "-m", "stream.cli", "run", "--source", "demo://", "--source-name", "porch"]
    run += ["--bundle", str(small_bundle("frames")), "--bind", endpoint, "--quiet"]
    with subprocess.Popen(run, cwd=HERE.parents[1], stderr=subprocess.PIPE, text=True) as daemon:
        try:
            lines = hear([*command, endpoint], 120)
        finally:
            daemon.terminate()
            _, error = daemon.communicate(timeout=60)
    assert daemon.returncode == 0, error
    check(lines)
    bodies = [decode(line, Faces) for line in lines]
    assert {body.source for body in bodies} == {"porch"}
    faces = [face for body in bodies for face in body.faces]
    assert any(face.ready for face in faces)
    # The first label never comes before the window is full.
    assert all(face.probs is None or face.window.n > 0 for face in faces)
    assert all(face.label is None for face in faces if not face.ready)
