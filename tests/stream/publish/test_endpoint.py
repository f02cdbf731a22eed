from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from stream.publish import endpoint as endpoints
from stream.publish import keys
from stream.publish.endpoint import EndpointError
from stream.publish.publisher import Publisher


@pytest.mark.parametrize(
    ("uri", "words"),
    [
        ("tcp://*:5570", "needs keys"),
        ("tcp://0.0.0.0:5570", "needs keys"),
        ("tcp://[::]:5570", "needs keys"),
        ("tcp://eth0:5570", "needs keys"),
        ("tcp://192.168.1.4:5570", "needs keys"),
        ("tcp://127.0.0.1:99999", "ports end at 65535"),
        ("tcp://127.0.0.1", "an endpoint is"),
        ("udp://127.0.0.1:5570", "an endpoint is"),
        ("cam1", "an endpoint is"),
        ("ipc://@abstract", "an abstract socket has no permissions"),
        ("ipc://here.ipc", "must be absolute"),
        ("ipc:///nowhere/at/all.ipc", "there is no directory /nowhere/at"),
        ("ipc:///tmp/" + "x" * 120, "at most 107 fit"),
    ],
)
def test_an_endpoint_that_will_not_do_is_refused_with_the_remedy(uri: str, words: str) -> None:
    with pytest.raises(EndpointError, match=words):
        Publisher("cam1", uri)


@pytest.mark.parametrize("given", ["secret_key", "allowed_keys"])
def test_one_of_the_keys_alone_is_not_enough_beyond_this_machine(tmp_path: Path, given: str) -> None:
    pair = keys.generate(tmp_path, "cam1")
    secret, allowed = (pair.secret, None) if given == "secret_key" else (None, tmp_path)
    with pytest.raises(EndpointError, match="needs keys; make them with"):
        Publisher("cam1", "tcp://0.0.0.0:*", secret, allowed)


@pytest.mark.parametrize("given", ["secret_key", "allowed_keys"])
def test_one_of_the_keys_alone_is_refused_on_this_machine_too(tmp_path: Path, given: str) -> None:
    pair = keys.generate(tmp_path, "cam1")
    secret, allowed = (pair.secret, None) if given == "secret_key" else (None, tmp_path)
    with pytest.raises(EndpointError, match="alone encrypts nothing; give both, or neither"):
        Publisher("cam1", f"ipc://{tmp_path}/a.ipc", secret, allowed)


@pytest.mark.parametrize(
    ("bind", "begins"),
    [("tcp://*:*", "tcp://0.0.0.0:"), ("tcp://lo:*", "tcp://127.0.0.1:"), ("tcp://[::1]:*", "tcp://[::1]:")],
)
def test_every_form_of_address_can_be_bound(tmp_path: Path, bind: str, begins: str) -> None:
    pair = keys.generate(tmp_path, "cam1")
    with Publisher("cam1", bind, pair.secret, tmp_path) as publisher:
        assert publisher.endpoint.startswith(begins)
        assert int(publisher.endpoint.rpartition(":")[2]) > 0


def test_the_last_port_can_be_bound() -> None:
    assert endpoints.parse("tcp://127.0.0.1:65535").local
    with pytest.raises(EndpointError, match="ports end at 65535"):
        endpoints.parse("tcp://127.0.0.1:65536")


def test_a_socket_that_vanished_is_no_source(tmp_path: Path) -> None:
    (tmp_path / "cam1.ipc").symlink_to(tmp_path / "gone")
    assert endpoints.default_connect("", tmp_path) == endpoints.DEFAULT_TCP


def test_the_default_endpoint_is_the_runtime_directory_where_it_is_ours(tmp_path: Path) -> None:
    assert endpoints.default_endpoint("cam1", tmp_path) == f"ipc://{tmp_path}/cam1.ipc"
    assert endpoints.default_endpoint("cam1", tmp_path / "none") == "tcp://127.0.0.1:5570"
    assert endpoints.default_endpoint("cam1", Path("/proc/self")) == "tcp://127.0.0.1:5570" or os.geteuid() == 0
    assert endpoints.default_connect("", tmp_path) == "tcp://127.0.0.1:5570"
    with Publisher("cam1", f"ipc://{tmp_path}/cam1.ipc"):
        assert endpoints.default_connect("", tmp_path) == f"ipc://{tmp_path}/cam1.ipc"
        # A process of several sources has one file, and it cannot be named after each.
        assert endpoints.default_connect("left", tmp_path) == f"ipc://{tmp_path}/cam1.ipc"
        with Publisher("cam2", f"ipc://{tmp_path}/cam2.ipc"):
            assert endpoints.default_connect("cam2", tmp_path) == f"ipc://{tmp_path}/cam2.ipc"
            with pytest.raises(EndpointError, match=r"several sources run here \(cam1, cam2\)"):
                endpoints.default_connect("", tmp_path)


def test_a_busy_listener_is_alive_and_a_dead_ones_file_goes(tmp_path: Path) -> None:
    path = tmp_path / "a.ipc"
    with socket.socket(socket.AF_UNIX) as busy, socket.socket(socket.AF_UNIX) as first:
        busy.bind(str(path))
        busy.listen(0)
        first.connect(str(path))  # nobody accepts: the next would have to wait
        with pytest.raises(EndpointError, match="in use by another process"):
            endpoints.clear_stale(path)
    assert path.exists()
    endpoints.clear_stale(path)
    assert not path.exists()


RACE = """
import sys, time
from pathlib import Path
from stream.publish.endpoint import EndpointError
from stream.publish.publisher import Publisher
print("ready", flush=True)
for line in sys.stdin:
    try:
        publisher = Publisher("cam0", line.strip())
    except EndpointError as error:
        print("in use" if "in use" in str(error) else error, flush=True)
        sys.stdin.readline()
    else:
        print("bound", flush=True)
        sys.stdin.readline()
        publisher.close()
    print("closed", flush=True)
"""


@pytest.mark.parametrize("stale", [False, True])
def test_of_publishers_that_start_at_the_same_instant_one_binds(tmp_path: Path, stale: bool) -> None:
    with contextlib.ExitStack() as stack:
        racers = [
            stack.enter_context(
                subprocess.Popen(
                    [sys.executable, "-c", RACE],
                    stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1, cwd=Path(__file__).parents[3],
                )
            )
            for _ in range(2)
        ]  # fmt: skip
        for racer in racers:
            stack.callback(racer.kill)

        def answers() -> list[str]:
            return sorted(racer.stdout.readline().strip() for racer in racers if racer.stdout)

        def tell(line: str) -> None:
            for racer in racers:
                assert racer.stdin is not None
                racer.stdin.write(line + "\n")

        assert answers() == ["ready", "ready"]
        for round_ in range(60):
            path = tmp_path / f"{round_}.ipc"
            if stale:  # what a killed daemon leaves: it is then that both would delete
                with socket.socket(socket.AF_UNIX) as dead:
                    dead.bind(str(path))
            tell(f"ipc://{path}")
            assert answers() == ["bound", "in use"], round_
            assert path.exists()
            tell("close")
            assert answers() == ["closed", "closed"]
            assert not path.exists()


def test_a_folder_that_somebody_holds_is_waited_for(tmp_path: Path) -> None:
    with contextlib.ExitStack() as held:
        held.enter_context(endpoints.claimed(tmp_path / "a.ipc"))
        binding = threading.Thread(target=lambda: Publisher("cam0", f"ipc://{tmp_path}/a.ipc").close())
        binding.start()
        held.close()
        binding.join(30)
        assert not binding.is_alive()
