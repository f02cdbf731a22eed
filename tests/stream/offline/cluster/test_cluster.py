"""``--ray`` on a real cluster of two nodes on this machine, and what something that is no cluster gets."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pyarrow.parquet as pq
import pytest

from engine.spec import CropGeometry
from stream.camera.paths import demo_clip_path
from stream.cli import main
from stream.offline import ScoreError
from stream.offline.cluster.address import find_cluster
from stream.offline.cluster.scoring import ScoreStation
from stream.offline.cluster.station import Reply, versions
from tests.archive.clips import make_clips
from tests.archive.cluster import TwoNodes, alive, two_nodes
from tests.archive.rows import same_rows
from tests.waiting import wait_for
from train.data.prepare import prepare
from train.data.record import Clip

ROOT = Path(__file__).resolve().parents[4]
GOOD = 6
# A cluster starts a dozen processes: on a busy machine that takes minutes.
pytestmark = pytest.mark.timeout(1200)


@pytest.fixture(scope="module")
def cluster() -> Iterator[TwoNodes]:
    if importlib.util.find_spec("ray") is None:
        pytest.skip("Ray is not installed: pip install 'dferstream[ray]'")
    with two_nodes() as started:
        yield started


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Good clips, and a longer one that will kill whoever opens it."""
    folder = tmp_path_factory.mktemp("clips")
    make_clips(folder, GOOD, frames=8)
    shutil.copy(demo_clip_path(), folder / "poison.mp4")
    return folder


@pytest.fixture(scope="module")
def flags(small_bundle: Callable[[str], Path]) -> list[str]:
    return ["--bundle", str(small_bundle("frames")), "--threads", "1", "--quiet"]


def start(*arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "stream.cli", "score", *arguments],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


class Poison:
    """Kills every worker of a cluster that has a file of this name open, as a decoder's fault would."""

    def __init__(self, cluster: TwoNodes, name: str) -> None:
        self._cluster, self._name, self._end = cluster, name, threading.Event()
        self._watch = threading.Thread(target=self._run)
        self.killed: set[int] = set()

    def __enter__(self) -> Poison:
        self._watch.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self._watch.join()

    def _run(self) -> None:
        while not self._end.wait(0.1):
            for worker in self._cluster.named("stream.offline.worker"):
                if worker.pid not in self.killed and self._holds(worker.pid):
                    os.kill(worker.pid, signal.SIGSEGV)
                    self.killed.add(worker.pid)

    def _holds(self, pid: int) -> bool:
        try:
            return any(self._name in str(link.readlink()) for link in Path(f"/proc/{pid}/fd").iterdir())
        except OSError:
            return False


def test_rows_equal_one_process_although_an_actor_is_killed_and_a_clip_kills_its_workers(
    cluster: TwoNodes, clips: Path, flags: list[str], tmp_path: Path
) -> None:
    good = sorted(str(clip) for clip in clips.glob("clip-*"))
    assert main(["score", *good, *flags, "--jobs", "1", "--out", str(tmp_path / "whole.parquet")]) == 0
    out = tmp_path / "set"
    child = start(*good, str(clips / "poison.mp4"), *flags, "--dataset", str(out), "--ray", cluster.address)
    with Poison(cluster, "poison.mp4") as poison:
        wait_for(lambda: child.poll() is not None or len(poison.killed) > 0, 600)
        # One that is an actor's whole process, whatever it has in hand.
        actors = cluster.named("ScoreStation")
        if actors:
            actors[-1].kill()
        said, err = child.communicate(timeout=600)
    assert (child.returncode, said) == (1, ""), err
    assert len(err.splitlines()) == 1
    assert "poison.mp4" in err
    assert "quarantined" in err
    assert len(poison.killed) >= 2
    assert same_rows(out / "rows", tmp_path / "whole.parquet")
    inputs = {row["input"]: row for row in pq.read_table(out / "inputs.parquet").to_pylist()}
    assert sorted(inputs) == sorted([*good, str(clips / "poison.mp4")])
    assert [name for name, row in inputs.items() if row["quarantined"]] == [str(clips / "poison.mp4")]
    wait_for(lambda: not any(alive(worker) for worker in cluster.named("stream.offline.worker")))


def test_faces_are_cut_on_the_nodes_as_they_are_here(cluster: TwoNodes, clips: Path, tmp_path: Path) -> None:
    listed = [Clip(path.name, path, "neutral") for path in sorted(clips.glob("clip-*"))[:3]]
    here = prepare(listed, tmp_path / "here", CropGeometry(size_px=96), workers=1)
    script = (
        "import sys; from pathlib import Path; from engine.spec import CropGeometry; from train.data.prepare import "
        "prepare; from train.data.record import Clip; prepare([Clip(Path(p).name, Path(p), 'neutral') for p in "
        "sys.argv[3:]], Path(sys.argv[1]), CropGeometry(size_px=96), 1, cluster=sys.argv[2])"
    )
    paths = [str(clip.path) for clip in listed]
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path / "there"), cluster.address, *paths],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert (done.returncode, done.stderr) == (0, "")
    for outcome in here:
        for crop in sorted((tmp_path / "here" / outcome.folder).iterdir()):
            assert crop.read_bytes() == (tmp_path / "there" / outcome.folder / crop.name).read_bytes()
    assert (tmp_path / "here" / "train.csv").read_bytes() == (tmp_path / "there" / "train.csv").read_bytes()


def test_another_ray_on_the_cluster_is_one_line_that_names_both(cluster: TwoNodes) -> None:
    script = (
        "import os, sys; os.environ['RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER'] = '0'; import ray; ray.__version__ = '2.0.0'; "
        "from engine.console import guarded; from stream.offline.cluster.address import connect; "
        "sys.exit(guarded('score', lambda: connect(sys.argv[1])))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, cluster.address],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert len(done.stderr.splitlines()) == 1, done.stderr
    assert f"has Ray {importlib.metadata.version('ray')}, Python " in done.stderr
    assert "this machine Ray 2.0.0" in done.stderr


def test_a_node_with_another_version_or_without_the_folder_refuses(tmp_path: Path) -> None:
    for station, word in (
        (ScoreStation(b"{}", "dferstream 9.9", str(tmp_path)), "has dferstream 9.9; install the same version"),
        (ScoreStation(b"{}", versions(), str(tmp_path / "absent")), "does not see"),
    ):
        reply = msgspec.json.decode(station.open(), type=Reply)
        assert reply.ready is None
        assert word in reply.refused


def test_what_is_no_cluster_is_known_within_seconds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        monkeypatch.setattr("stream.offline.cluster.address._PATIENCE_S", 0.2)
        with pytest.raises(ScoreError, match=f"no Ray cluster at 127.0.0.1:{port}: timed out; ray start"):
            find_cluster(f"127.0.0.1:{port}")
        # What `ray start` left behind of one that is gone.
        monkeypatch.setenv("RAY_ADDRESS", f"127.0.0.1:{port}")
        assert find_cluster("auto") is None
    monkeypatch.delenv("RAY_ADDRESS")
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path))
    assert find_cluster("auto") is None
    with pytest.raises(ScoreError, match="not HOST:PORT"):
        find_cluster("cluster")


def test_what_answers_and_is_no_cluster_is_told_so() -> None:
    def greet(server: socket.socket) -> None:
        connection, _ = server.accept()
        with connection:
            connection.recv(64)
            connection.sendall(b"SSH-2.0-OpenSSH_9.2\r\n")

    with socket.create_server(("127.0.0.1", 0)) as other:
        answering = threading.Thread(target=greet, args=(other,))
        answering.start()
        try:
            with pytest.raises(ScoreError, match="what answers there is none"):
                find_cluster(f"127.0.0.1:{other.getsockname()[1]}")
        finally:
            answering.join()
