from __future__ import annotations

import errno
import importlib.metadata
import json
import os
import re
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from engine.backends import BackendError, HeadOutput, open_artefact, open_backend
from engine.backends.choice import construct
from engine.build import build as build_module
from engine.build.build import build, verify
from engine.build.gate import gate, replay
from engine.build.options import BuildError, BuildOptions
from engine.bundle import Bundle, BundleError, EngineDirectory, Golden
from engine.bundle.engine_directory import ENGINE_MANIFEST
from engine.bundle.files import encode_manifest
from engine.bundle.golden import Bounds, ParityError
from engine.cli import main


@pytest.fixture(scope="module")
def engine_path(exported: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An OpenVINO engine directory; do not alter it."""
    path = tmp_path_factory.mktemp("engine") / "engine"
    build(exported.path, path, "openvino", BuildOptions(precision="fp32"))
    return path


@pytest.fixture
def damaged(engine_path: Path, tmp_path: Path) -> Path:
    """A copy, free to be damaged."""
    import shutil

    return Path(shutil.copytree(engine_path, tmp_path / "engine"))


def rewrite(root: Path, change: dict[str, Any]) -> None:
    values = json.loads((root / ENGINE_MANIFEST).read_bytes())
    (root / ENGINE_MANIFEST).write_bytes(encode_manifest({**values, **change}))


@pytest.mark.parametrize("name", ["openvino", "onnxruntime", "torch"])
def test_one_command_from_bundle_to_verified_engine(exported: Bundle, tmp_path: Path, name: str) -> None:
    out = tmp_path / "engine"
    built = build(exported.path, out, name, BuildOptions(precision="fp32"))
    assert built.parity.windows == 256
    assert built.parity.max_delta <= 0.02
    artefact = open_artefact(out)
    assert isinstance(artefact, EngineDirectory)
    assert (artefact.backend, artefact.sha256, artefact.spec) == (name, exported.sha256, exported.spec)
    backend = open_backend(out)
    assert backend.name == name
    assert "built and proven" in backend.reason
    backend.close()
    assert verify(out).top1 >= 0.99
    assert os.listdir(tmp_path) == ["engine"]


def test_auto_measures_precisions_and_says_so(exported: Bundle, tmp_path: Path) -> None:
    built = build(exported.path, tmp_path / "engine")
    assert built.engine.backend == "openvino"
    assert built.engine.precision in ("bf16", "fp32")
    assert any("NVIDIA" in note or "tensorrt" in note for note in built.notes)
    assert sum("ms per unit" in note for note in built.notes) >= 1


def test_one_flipped_byte_of_any_file_is_refused_by_name_before_anything_is_loaded(
    damaged: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def loaded(*_: object, **__: object) -> None:
        raise AssertionError("something was deserialised before the check")

    import engine.backends.openvino as openvino_module

    monkeypatch.setattr(openvino_module, "OpenVinoBackend", loaded)
    monkeypatch.setattr(Golden, "load", loaded)
    for file in sorted(damaged.iterdir()):
        whole = file.read_bytes()
        for at in (0, len(whole) // 2, len(whole) - 1):
            changed = bytearray(whole)
            changed[at] ^= 4
            file.write_bytes(bytes(changed))
            with pytest.raises(BundleError, match=file.name):
                open_backend(damaged)
        file.write_bytes(whole)


def test_another_machine_version_or_graph_is_refused_by_name(damaged: Path) -> None:
    values = json.loads((damaged / ENGINE_MANIFEST).read_bytes())
    for key, message in (("cpu", "cpu Pentium"), ("openvino", "openvino Pentium")):
        rewrite(damaged, {"runtime": {**values["runtime"], key: "Pentium"}})
        with pytest.raises(BundleError, match=f"{message}.*dfer-engine build"):
            open_artefact(damaged)
    rewrite(damaged, {"runtime": values["runtime"], "onnx": {**values["onnx"], "head.onnx": "0" * 64}})
    with pytest.raises(BundleError, match=r"another head\.onnx"):
        open_artefact(damaged)
    rewrite(damaged, {"onnx": values["onnx"], "format_version": 9})
    with pytest.raises(BundleError, match="format_version 9.*upgrade"):
        open_artefact(damaged)
    rewrite(damaged, {"format_version": 1, "files": {}})
    with pytest.raises(BundleError, match=r"does not list bundle\.json"):
        open_artefact(damaged)


def test_only_listed_files_are_ever_read(damaged: Path) -> None:
    for name in ("encoder.plan", "encoder.xml", "head.plan", "calibration.json"):
        (damaged / name).write_bytes(b"planted beside the proven files")
    engine = open_artefact(damaged)
    assert (engine.encoder.name, engine.head.name, engine.calibration()) == ("encoder.onnx", "head.onnx", None)
    open_backend(engine).close()


def test_an_engine_of_elsewhere_is_adopted_by_the_gate_alone(
    damaged: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    here = json.loads((damaged / ENGINE_MANIFEST).read_bytes())["runtime"]
    rewrite(damaged, {"runtime": {**here, "cpu": "Pentium"}})
    assert run_cli(capsys, "verify", damaged)[2].strip().endswith(f"dfer-engine verify {damaged} --adopt")

    def refused(*_: object) -> None:
        raise ParityError("too far from FP32")

    with monkeypatch.context() as wrong:
        wrong.setattr(build_module, "gate", refused)
        assert run_cli(capsys, "verify", damaged, "--adopt")[0] == 2
    with pytest.raises(BundleError, match="cpu Pentium"):
        open_artefact(damaged)
    graph = damaged / "head.onnx"
    whole = graph.read_bytes()
    graph.write_bytes(whole[:-1] + b"!")
    assert "head.onnx" in run_cli(capsys, "verify", damaged, "--adopt")[2]
    graph.write_bytes(whole)
    assert json.loads(run_cli(capsys, "verify", damaged, "--adopt", "--json")[1])["adopted"]
    adopted = open_artefact(damaged)
    assert isinstance(adopted, EngineDirectory)
    assert adopted.runtime == here
    assert not list(damaged.glob(".*"))


def test_a_library_that_is_gone_is_named(damaged: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> str:
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "version", missing)
    with pytest.raises(BackendError, match="openvino is not installed"):
        open_artefact(damaged)


class Shifted:
    """A back end that runs and is wrong."""

    name, precision, device, reason, degraded = "openvino", "fp32", "CPU", "", False

    def __init__(self, inner: Any, change: Any) -> None:
        self.inner, self.spec, self.change, self.closed = inner, inner.spec, change, False
        self.ring, self.encode = inner.ring, inner.encode

    def head(self, ring_flat: Any, index: Any) -> HeadOutput:
        output = self.inner.head(ring_flat, index)
        return HeadOutput(self.change(output.logits), output.relevance, output.now)

    def close(self) -> None:
        self.closed = True
        self.inner.close()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda logits: logits * np.nan, "numbers that are none"),
        (lambda logits: np.roll(logits, 1, axis=1), "too far from FP32.*required 99%"),
        (lambda logits: logits * 0.2, "too far from FP32"),
    ],
)
def test_a_wrong_engine_never_appears(
    exported: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: Any, message: str
) -> None:
    original = construct
    made: list[Shifted] = []

    def wrong(*arguments: Any) -> Shifted:
        made.append(Shifted(original(*arguments), change))
        return made[-1]

    monkeypatch.setattr(build_module, "construct", wrong)
    with pytest.raises(ParityError, match=message):
        build(exported.path, tmp_path / "engine", "openvino", BuildOptions(precision="fp32"))
    assert list(tmp_path.iterdir()) == []
    assert all(backend.closed for backend in made)


def test_bounds_are_the_users_and_few_windows_prove_nothing(exported: Bundle) -> None:
    backend = open_backend(exported, "openvino", precision="fp32")
    golden = exported.golden()
    wrong = Shifted(backend, lambda logits: logits * 0.2)
    parity = replay(wrong, golden)
    assert parity.top1 == 1.0
    assert gate(wrong, golden, Bounds(max_delta=1.0, top1=0.9)).max_delta == parity.max_delta
    with pytest.raises(ParityError, match="200 are needed"):
        gate(backend, Golden(**{**golden.__dict__, "windows": golden.windows[:199]}))
    with pytest.raises(ParityError, match="bounds"):
        Bounds(max_delta=0)
    backend.close()


def test_impossible_builds_are_refused(exported: Bundle, engine_path: Path, tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(BuildError, match="no engine directory"):
        build(exported.path, tmp_path)
    with pytest.raises(BuildError, match="onnxruntime builds in fp32"):
        build(exported.path, tmp_path / "x", "onnxruntime", BuildOptions(precision="int8"))
    with pytest.raises(BuildError, match="unknown back end"):
        build(exported.path, tmp_path / "x", "tpu")
    with pytest.raises(BackendError, match="was built for openvino in fp32"):
        open_backend(engine_path, "onnxruntime")
    assert [p.name for p in tmp_path.iterdir()] == ["thesis.txt"]


def test_a_failed_engine_falls_back_to_what_runs_its_graphs(engine_path: Path) -> None:
    backend = open_backend(engine_path, exclude=["openvino"])
    assert (backend.name, backend.degraded) == ("onnxruntime", True)
    backend.close()
    with pytest.raises(BackendError, match="holds nothing"):
        open_backend(engine_path, exclude=["openvino", "onnxruntime"])


def run_cli(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    status = main([str(a) for a in arguments])
    captured = capsys.readouterr()
    return status, captured.out, captured.err


def test_commands(exported: Bundle, engine_path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status, out, _ = run_cli(capsys, "build", exported.path, tmp_path / "e", "--backend", "onnxruntime", "--json")
    assert status == 0
    assert json.loads(out)["parity"]["top1"] == 1.0
    status, out, _ = run_cli(capsys, "verify", tmp_path / "e")
    assert (status, "ok" in out) == (0, True)
    status, out, _ = run_cli(capsys, "inspect", tmp_path / "e", "--json")
    assert json.loads(out)["backend"] == "onnxruntime"
    status, out, _ = run_cli(capsys, "inspect", exported.path)
    assert "bundle of tiny" in out
    status, out, _ = run_cli(capsys, "inspect", exported.head)
    assert "keeps every rule" in out
    status, out, _ = run_cli(capsys, "export", exported.path, tmp_path / "half", "--batch", "1", "--json")
    assert json.loads(out)["precision"] == "fp16"
    assert (tmp_path / "half" / "head.onnx.data").is_file()
    status, out, _ = run_cli(
        capsys, "bench", engine_path, "--rounds", "2", "--batches", "1,2", "--windows", "8,16", "--json"
    )
    report = json.loads(out)
    assert [s["batch"] for s in report["steps"]] == [1, 2]
    assert [r["length"] for r in report["rings"]] == [8, 16]
    assert report["floor"]["gmacs"] > 0
    assert report["machine"]["calibration_ms"] > 0
    assert report["bare"]["precision"] == "f32"  # the engine's own precision, whatever OpenVINO would choose here
    assert report["bare"]["ratio"] > 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("verify", "{}/nowhere"), "not a bundle"),
        (("build", "{}/nowhere", "{}/out"), "not a bundle"),
        (("bench", "{}/text"), "not a bundle"),
        (("inspect", "{}/nowhere.onnx"), "cannot read the ONNX graph"),
        (("inspect", "{}/truncated.onnx"), "cannot read the ONNX graph"),
        (("build", "{}/bundle", "{}/text"), "text exists and is no engine directory"),
        (("build", "{}/bundle", "{}/text/engine"), "text"),
        (("build", "{}/bundle", "{}/out", "--max-delta", "7"), "bounds must be in"),
        (("build", "{}/bundle", "{}/out", "--threads", "0"), "threads must be a whole number of at least 1, not 0"),
        (("build", "{}/bundle", "{}/out", "--precision", "fp8"), "'fp32' | 'fp16' | 'bf16' | 'int8'"),
        (("build", "{}/bundle", "{}/out", "--precision", "int8", "--crops", "{}/text"), "text"),
        (
            ("build", "{}/bundle", "{}/out", "--precision", "fp64"),
            "precision must be 'fp32' | 'fp16' | 'bf16' | 'int8'",
        ),
        (("build", "{}/bundle", "{}/out", "--faces", "two"), "faces must be whole number, not 'two'"),
        (("export", "{}/bundle", "{}/bundle"), "choose a new directory"),
    ],
)
def test_errors_are_one_line_and_leave_nothing(
    exported: Bundle, tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], message: str
) -> None:
    (tmp_path / "bundle").symlink_to(exported.path)
    (tmp_path / "text").write_text("no directory")
    (tmp_path / "truncated.onnx").write_bytes(exported.head.read_bytes()[:-100])
    status, out, err = run_cli(capsys, *(argument.format(tmp_path) for argument in arguments))
    assert status == 2
    assert message in err
    assert err.count("\n") == 1
    assert {p.name for p in tmp_path.iterdir()} == {"bundle", "text", "truncated.onnx"}


def test_a_full_disk_is_named_and_nothing_stays(
    exported: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(source: Path, target: Path) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(source), None, str(target))

    monkeypatch.setattr("engine.build.build.shutil.copyfile", full)
    status, _, err = run_cli(capsys, "build", exported.path, tmp_path / "engine")
    assert status == 2
    assert "No space left on device" in err
    assert str(tmp_path) in err
    assert "df -h" in err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("bench", "x", "--batches", "1,two"), "whole numbers from 1, separated by commas, not '1,two'"),
        (("verify", "x", "--threads", "0"), "a whole number of at least 1, not '0'"),
        (("build", "x", "y", "--backend", "tpu"), "openvino"),
        (("export", "x", "y", "--batch", "8-1"), "a profile such as 1-8, not '8-1'"),
    ],
)
def test_wrong_arguments_say_what_is_right(
    capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], message: str
) -> None:
    with pytest.raises(SystemExit) as stop:
        main(arguments)
    assert stop.value.code == 2
    assert message in capsys.readouterr().err


def test_a_build_is_told_by_flags_over_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[BuildOptions] = []

    def build(bundle: Path, out: Path, backend: str, options: BuildOptions, say: object) -> None:
        told.append(options)
        raise BuildError(f"{bundle} {out} {backend}")

    monkeypatch.setattr("engine.commands.build.build", build)
    monkeypatch.setenv("DFER_ENGINE_THREADS", "3")
    monkeypatch.setenv("DFER_ENGINE_FACES", "4")
    assert main(["build", "--max-delta", "0.1", "--faces", "2", "--version-compatible", "x", "y"]) == 2
    assert told == [BuildOptions(bounds=Bounds(0.1), threads=3, faces=2, version_compatible=True)]


@pytest.mark.parametrize("command", ["build", "verify", "bench", "inspect", "export"])
def test_every_command_has_json_and_help_that_teaches(capsys: pytest.CaptureFixture[str], command: str) -> None:
    with pytest.raises(SystemExit):
        main([command, "--help"])
    shown = capsys.readouterr().out
    assert "--json" in shown
    assert re.search(rf"^(example: )?dfer-engine {command} ", shown, re.M)


def test_ctrl_c_leaves_nothing(
    exported: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def stopped(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(build_module, "gate", stopped)
    status, _, err = run_cli(capsys, "build", exported.path, tmp_path / "engine")
    assert (status, err) == (130, "dfer-engine build: stopped; nothing was left half-written\n")
    assert list(tmp_path.iterdir()) == []


def test_ten_thousand_steps_with_faces_coming_and_going_leave_memory_flat(exported: Bundle) -> None:
    import psutil

    backend = open_backend(exported, "openvino", threads=1)
    spec = exported.spec
    ring = backend.ring(4, spec.window)
    crops = exported.golden().crops
    rng = np.random.default_rng(0)
    process = psutil.Process()

    def steps(count: int) -> None:
        for _ in range(count):
            slots = sorted(rng.choice(4, size=int(rng.integers(1, 5)), replace=False).tolist())
            if rng.random() < 0.05:
                ring.reset(slots[0])
            features = backend.encode(crops[: len(slots)])
            for row, slot in enumerate(slots):
                ring.push(slot, features[row])
            backend.head(ring.flat, np.stack([ring.index(slot, spec.window) for slot in slots]))

    steps(1000)
    before = process.memory_info().rss
    steps(9000)
    grown = (process.memory_info().rss - before) / 2**20
    backend.close()
    assert grown < 8, f"{grown:.1f} MB more after 9000 steps"
    assert "tensorrt" not in sys.modules
