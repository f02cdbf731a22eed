"""Where the face nets come from, and that a wheel of ours brings them to a machine without MediaPipe."""

from __future__ import annotations

import functools
import os
import subprocess
import sys
import threading
import zipfile
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from stream.faces.nets.files import FILES, FOLDER
from stream.faces.nets.provide import VARIABLE, FaceNetsError, provide

ROOT = Path(__file__).resolve().parents[2]
NAMES = sorted(net.name for net in FILES.values())


def tree(path: Path) -> Path:
    """A source tree without its nets."""
    folder = path / "stream" / "faces" / "nets"
    folder.mkdir(parents=True)
    (folder / "files.py").write_bytes((FOLDER.parent / "files.py").read_bytes())
    return path


def wheel(folder: Path, change: str | None = None) -> Path:
    """A file that pip takes for MediaPipe's wheel: its nets, one of them changed on demand, and no program."""
    path = folder / "mediapipe-0.10.14-cp311-cp311-manylinux_2_17_x86_64.whl"
    about = "mediapipe-0.10.14.dist-info"
    with zipfile.ZipFile(path, "w") as archive:
        for name, net in FILES.items():
            data = (FOLDER / net.name).read_bytes()
            archive.writestr(net.inside, data[:-1] if name == change else data)
        archive.writestr(f"{about}/METADATA", "Metadata-Version: 2.1\nName: mediapipe\nVersion: 0.10.14\n")
        archive.writestr(f"{about}/WHEEL", "Wheel-Version: 1.0\nTag: cp311-cp311-manylinux_2_17_x86_64\n")
        archive.writestr(f"{about}/RECORD", "")
    return path


@pytest.fixture
def offline(tmp_path: Path) -> dict[str, str]:
    """An environment with an empty cache in which pip reaches nothing."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PIP_") and name != VARIABLE}
    cache = {"XDG_CACHE_HOME": str(tmp_path / "cache"), "PIP_CACHE_DIR": str(tmp_path / "pip")}
    return {**kept, **cache, "PIP_NO_INDEX": "1", "PIP_CONFIG_FILE": os.devnull}


@pytest.fixture
def index(tmp_path: Path) -> Iterator[tuple[str, Path]]:
    """A package index of one package, and its folder."""
    folder = tmp_path / "index" / "simple" / "mediapipe"
    folder.mkdir(parents=True)
    name = wheel(folder).name
    (folder / "index.html").write_text(f'<!DOCTYPE html><a href="{name}">{name}</a>')
    handler = functools.partial(_Quiet, directory=str(tmp_path / "index"))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/simple", folder
        server.shutdown()
        thread.join()


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        pass


def test_the_users_index_is_asked_once_and_then_the_cache(
    tmp_path: Path, offline: dict[str, str], index: tuple[str, Path]
) -> None:
    url, folder = index
    online = {name: value for name, value in offline.items() if name != "PIP_NO_INDEX"}
    found = provide(tree(tmp_path / "one"), {**online, "PIP_INDEX_URL": url})
    assert [path.read_bytes() for path in found] == [(FOLDER / path.name).read_bytes() for path in found]
    assert sorted(path.name for path in found) == NAMES
    next(folder.glob("*.whl")).unlink()
    assert all(path.is_file() for path in provide(tree(tmp_path / "two"), offline))


@pytest.mark.parametrize("kind", ["wheel", "folder"])
def test_a_file_at_hand_needs_no_network(tmp_path: Path, offline: dict[str, str], kind: str) -> None:
    place = wheel(tmp_path) if kind == "wheel" else FOLDER
    provide(tree(tmp_path / "tree"), {**offline, VARIABLE: str(place)})
    written = tmp_path / "tree" / "stream" / "faces" / "nets" / "tflite"
    assert sorted(path.name for path in written.iterdir()) == NAMES


def test_without_network_and_file_one_line_says_what_to_do(tmp_path: Path, offline: dict[str, str]) -> None:
    with pytest.raises(FaceNetsError, match=rf"mediapipe==0\.10\.14.*{VARIABLE}=") as refused:
        provide(tree(tmp_path / "tree"), offline)
    assert "\n" not in str(refused.value)


def test_other_bytes_are_refused_wherever_they_come_from(tmp_path: Path, offline: dict[str, str]) -> None:
    with pytest.raises(FaceNetsError, match=r"face_landmark\.tflite is not the expected net"):
        provide(tree(tmp_path / "tree"), {**offline, VARIABLE: str(wheel(tmp_path, change="landmark"))})
    with pytest.raises(FaceNetsError, match="no such file"):
        provide(tmp_path / "tree", {**offline, VARIABLE: str(tmp_path / "none")})
    with pytest.raises(FaceNetsError, match=r"holds no face nets"):
        provide(tmp_path / "tree", {**offline, VARIABLE: str(Path(__file__))})
    # A spoiled cache and a spoiled tree are made good.
    whole = {**offline, VARIABLE: str(wheel(tmp_path))}
    spoiled = provide(tmp_path / "tree", whole)[0]
    spoiled.write_bytes(b"")
    (tmp_path / "cache" / "dferstream" / "face-nets" / spoiled.name).write_bytes(b"")
    provide(tmp_path / "tree", whole)
    assert spoiled.read_bytes() == (FOLDER / spoiled.name).read_bytes()


def test_a_wheel_of_ours_follows_faces_where_nothing_of_mediapipe_is(tmp_path: Path) -> None:
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet"]
    build = [*pip, "wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", str(tmp_path), str(ROOT)]
    done = subprocess.run(build, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    (made,) = tmp_path.glob("dferstream-*.whl")
    with zipfile.ZipFile(made) as archive:
        inside = archive.namelist()
        archive.extractall(tmp_path / "site")
    assert sorted(Path(name).name for name in inside if name.endswith(".tflite")) == NAMES
    assert [name for name in inside if "licenses" in name and name.endswith("tflite/NOTICE")]
    assert not [name for name in inside if name.startswith(("tests", "hatch")) or name.endswith("provide.py")]
    code = (
        "import sys, numpy as np\n"
        "for name in ('mediapipe', 'jax', 'scipy', 'matplotlib', 'onnxruntime', 'onnx'): sys.modules[name] = None\n"
        "from stream.assemble import load_model\n"
        "from stream.config import ModelSettings\n"
        "from stream.faces import FaceTracker\n"
        "import stream\n"
        "print(len(FaceTracker().step(np.zeros((120, 160, 3), np.uint8), 1).faces),"
        " load_model(ModelSettings()).backend.name, stream.__file__)\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(tmp_path / "site")}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["0", "openvino", str(tmp_path / "site" / "stream" / "__init__.py")]
