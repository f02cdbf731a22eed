"""Compiled graphs kept between starts: the same answers, never another graph's, and no need of the cache."""

from __future__ import annotations

import gc
import os
import shutil
from pathlib import Path

import numpy as np
import openvino as ov
import pytest
from numpy.typing import NDArray
from openvino import opset13 as ops

from engine.backends import compiled, open_backend
from engine.backends.compiled import cache_folder, compile_graph, release_kept
from engine.bundle.bundle import Bundle

CONFIG = {"INFERENCE_NUM_THREADS": 1}


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache"


class Graph:
    """x + a number; counts how often it was read."""

    def __init__(self, number: float) -> None:
        self.number, self.reads = number, 0

    def __call__(self) -> ov.Model:
        self.reads += 1
        x = ops.parameter([2], np.float32)
        return ov.Model([ops.add(x, ops.constant(np.float32(self.number)))], [x], "plus")


def answer(graph: Graph, identity: str | None) -> NDArray[np.float32]:
    request = compile_graph(graph, identity, CONFIG).create_infer_request()
    return np.asarray(request.infer([np.zeros(2, np.float32)])[0], np.float32)


def blobs() -> list[Path]:
    folder = cache_folder()
    assert folder is not None
    return sorted(folder.glob("*"))


def test_the_second_start_reads_no_graph_and_answers_alike() -> None:
    graph = Graph(3)
    assert answer(graph, "three").tolist() == answer(graph, "three").tolist() == [3, 3]
    assert graph.reads == 1
    assert [file.stat().st_mode & 0o777 for file in blobs()] == [0o600]


def test_a_kept_graph_lies_in_its_file_and_answers_after_its_pages_were_dropped() -> None:
    numbers = np.arange(100_000, dtype=np.float32)
    x = ops.parameter([1, 100_000], np.float32)
    model = ov.Model([ops.matmul(x, ops.constant(numbers.reshape(-1, 1)), False, False)], [x], "sum")
    requests = [compile_graph(lambda: model, "sum", CONFIG).create_infer_request() for _ in range(3)]
    gc.collect()
    mapped = [line.split()[1] for line in Path("/proc/self/maps").read_text().splitlines() if str(blobs()[0]) in line]
    assert mapped
    assert set(mapped) == {"rw-p"}
    release_kept()
    ones = np.ones((1, 100_000), np.float32)
    answers = {float(request.infer([ones])[0][0, 0]) for request in requests}
    assert len(answers) == 1
    assert answers.pop() == pytest.approx(float(numbers.sum()), rel=1e-3)


def test_other_weights_are_another_graph() -> None:
    assert answer(Graph(3), "three")[0] == 3
    assert answer(Graph(4), "four")[0] == 4
    assert len(blobs()) == 2


def test_another_version_of_openvino_or_another_cpu_begins_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    answer(Graph(3), "three")
    monkeypatch.setattr(compiled, "cpu_name", lambda: "another")
    graph = Graph(3)
    answer(graph, "three")
    assert graph.reads == 1


@pytest.mark.parametrize("damage", ["cut", "flipped", "empty", "no graph"])
def test_a_damaged_file_is_compiled_anew_and_replaced(damage: str) -> None:
    answer(Graph(3), "three")
    (file,) = blobs()
    data = bytearray(file.read_bytes())
    if damage == "flipped":
        data[len(data) // 2] ^= 1
    file.write_bytes({"cut": bytes(data[:-9]), "empty": b"", "no graph": b"x" * 64}.get(damage, bytes(data)))
    graph = Graph(3)
    assert answer(graph, "three")[0] == 3
    assert graph.reads == 1
    assert answer(graph, "three")[0] == 3
    assert graph.reads == 1


def test_a_folder_that_others_can_write_to_is_not_trusted() -> None:
    answer(Graph(3), "three")
    folder = cache_folder()
    assert folder is not None
    folder.chmod(0o777)
    graph = Graph(3)
    answer(graph, "three")
    assert graph.reads == 1


def test_without_a_place_everything_still_runs(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home.write_text("a file where the folder would be")
    assert answer(Graph(3), "three")[0] == 3
    monkeypatch.setenv("XDG_CACHE_HOME", "")
    monkeypatch.setenv("HOME", "relative")
    assert cache_folder() is None
    assert answer(Graph(3), "three")[0] == 3


def test_what_has_no_identity_is_not_kept(home: Path) -> None:
    answer(Graph(3), None)
    assert not home.exists()


def test_old_graphs_make_room() -> None:
    for number in range(27):
        answer(Graph(number), str(number))
        newest = max(blobs(), key=lambda file: file.stat().st_mtime_ns)
        os.utime(newest, (number, number))
    assert len(blobs()) == 24
    graph = Graph(26)
    answer(graph, "26")
    assert graph.reads == 0


def test_a_kept_model_answers_as_a_compiled_one_does(exported: Bundle, home: Path) -> None:
    golden = exported.golden()
    answers = []
    for _ in range(2):
        backend = open_backend(exported, "openvino")
        features = np.asarray(backend.encode(golden.crops[:5]))
        answers.append((features, backend.head(features, golden.windows[:5] % 5).logits))
        backend.close()
    np.testing.assert_array_equal(answers[0][0], answers[1][0])
    np.testing.assert_array_equal(answers[0][1], answers[1][1])
    shutil.rmtree(home)
