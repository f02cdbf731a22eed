"""The repository against Triton's own schema and documented layout, and its graphs against the golden vectors.

`triton_model_config.binpb` is the compiled schema of `config.pbtxt`: `model_config_pb2.DESCRIPTOR.serialized_pb` of
tritonclient 2.73.0 (triton-inference-server/common, BSD-3-Clause). No Triton has run here.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import openvino as ov
import pytest
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, text_format

from engine.build.build import build
from engine.build.options import BuildOptions
from engine.bundle.bundle import Bundle
from engine.bundle.engine_directory import EngineDirectory, write_manifest
from engine.bundle.files import file_sha256
from engine.cli import main
from engine.export.rewrite import rewrite
from engine.export.triton import tensors, write_repository
from tests.engine.backends.test_tensorrt import OURS, install
from tests.engine.tensorrt_double import Record

SCHEMA = Path(__file__).with_name("triton_model_config.binpb")
MAIN_FILES = {"tensorrt": "model.plan", "onnxruntime": "model.onnx", "openvino": "model.xml"}


def config_of(text: str) -> Any:
    pool = descriptor_pool.DescriptorPool()
    pool.Add(descriptor_pb2.FileDescriptorProto.FromString(SCHEMA.read_bytes()))
    kind = message_factory.GetMessageClass(pool.FindMessageTypeByName("inference.ModelConfig"))
    return text_format.Parse(text, kind())


def check_layout(repository: Path) -> dict[str, Any]:
    """What Triton's documentation asks of a repository; the configurations by part."""
    configs = {}
    for folder in repository.iterdir():
        assert folder.is_dir(), "nothing but models lies at the top"
        config = config_of((folder / "config.pbtxt").read_text())
        assert config.name == folder.name
        assert [path.name for path in folder.iterdir() if path.name.isdecimal()] == ["1"]
        model = folder / "1" / MAIN_FILES[config.backend]
        assert model.exists()
        if config.backend == "onnxruntime" and model.is_dir():
            assert (model / "model.onnx").is_file(), "a graph of several files lies in a folder of that name"
        if config.backend == "openvino":
            assert model.with_suffix(".bin").is_file()
        for output in config.output:
            if output.label_filename:
                assert (folder / output.label_filename).is_file()
        configs[folder.name.rpartition("_")[2]] = config
    return configs


def session(folder: Path) -> onnxruntime.InferenceSession:
    model = folder / "1" / "model.onnx"
    return onnxruntime.InferenceSession(
        str(model / "model.onnx" if model.is_dir() else model), providers=["CPUExecutionProvider"]
    )


def test_a_bundle_becomes_two_models_that_answer_as_its_golden_vectors(exported: Bundle, tmp_path: Path) -> None:
    done = write_repository(exported.path, tmp_path / "repository", most=4)
    configs = check_layout(done.path)
    golden, spec = exported.golden(), exported.spec
    encoder, head = (session(done.path / model) for model in done.models)
    assert configs["encoder"].max_batch_size == 4
    assert configs["encoder"].HasField("dynamic_batching")
    assert configs["head"].max_batch_size == 0
    for part, ran, batched in (("encoder", encoder, True), ("head", head, False)):
        for said, found in ((configs[part].input, ran.get_inputs()), (configs[part].output, ran.get_outputs())):
            shapes = {v.name: ([-1] if batched else []) + list(v.dims) for v in said}
            assert shapes == {v.name: [d if isinstance(d, int) else -1 for d in v.shape] for v in found}
    (features,) = encoder.run(["features"], {"crops": golden.crops})
    (logits,) = head.run(["logits"], {"ring": features, "index": golden.windows})
    assert np.allclose(logits, golden.logits, atol=1e-3)
    assert (done.path / done.models[1] / "labels.txt").read_text().split() == list(spec.labels)
    assert configs["head"].parameters["bundle_sha256"].string_value == exported.sha256


@pytest.mark.parametrize("backend", ["openvino", "onnxruntime"])
def test_engine_directories_of_a_cpu(exported: Bundle, tmp_path: Path, backend: str) -> None:
    engine = build(exported.path, tmp_path / "engine", backend, BuildOptions(precision="fp32", threads=1)).engine
    done = write_repository(engine.path, tmp_path / "repository")
    configs = check_layout(done.path)
    assert done.backends == ("onnxruntime", "onnxruntime")
    assert [group.kind for group in configs["encoder"].instance_group] == [2], "KIND_CPU"
    assert configs["encoder"].parameters["bundle_sha256"].string_value == exported.sha256


def test_an_encoder_of_openvinos_own_form(exported: Bundle, tmp_path: Path) -> None:
    engine = build(exported.path, tmp_path / "engine", "openvino", BuildOptions(precision="fp32", threads=1)).engine
    ov.save_model(ov.Core().read_model(engine.encoder), str(engine.path / "encoder.xml"), compress_to_fp16=False)
    made = {name: file_sha256(engine.path / name) for name in ("encoder.xml", "encoder.bin")}
    kept = {name: digest for name, digest in engine.files.items() if not name.startswith("encoder.onnx")}
    write_manifest(replace(engine, files={**kept, **made}), exported)  # as INT8 leaves it
    done = write_repository(engine.path, tmp_path / "repository")
    configs = check_layout(done.path)
    assert done.backends == ("openvino", "onnxruntime")
    assert configs["encoder"].output[0].data_type == configs["head"].input[0].data_type


def test_a_plan_in_half_hands_over_halves(exported: Bundle, tmp_path: Path) -> None:
    with pytest.MonkeyPatch.context() as patch:
        install(patch, Record(), "10.3.0")
        engine = build(exported.path, tmp_path / "engine", "tensorrt", BuildOptions(precision="fp16")).engine
        done = write_repository(engine.path, tmp_path / "repository", name="cabin")
        for module in OURS:
            sys.modules.pop(module, None)
    configs = check_layout(done.path)
    assert done.models == ("cabin_encoder", "cabin_head")
    assert configs["encoder"].backend == configs["head"].backend == "tensorrt"
    half = config_of("output { data_type: TYPE_FP16 }").output[0].data_type
    assert configs["encoder"].output[0].data_type == half
    assert [v.data_type == half for v in configs["head"].input] == [True, False]
    assert (done.path / "cabin_encoder/1/model.plan").read_bytes() == engine.encoder.read_bytes()


def test_halves_are_read_from_the_graph(exported: Bundle, tmp_path: Path) -> None:
    rewrite(exported.path, tmp_path / "half", "fp16")
    engine = EngineDirectory(tmp_path / "half", exported.spec, "", "onnxruntime", "fp16",
                             files={"encoder.onnx": "", "head.onnx": ""})  # fmt: skip
    assert [tensor.dtype for tensor in tensors(engine, "encoder")[1]] == ["float16"]


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--triton", "--precision", "fp16"], "copies graphs or plans as they are"),
        (["--triton", "--name", "a/b"], "cannot name a folder"),
        (["--name", "cabin"], "add --triton"),
    ],
)
def test_what_cannot_be_is_one_line(
    exported: Bundle, tmp_path: Path, capsys: pytest.CaptureFixture[str], flags: list[str], words: str
) -> None:
    assert main(["export", str(exported.path), str(tmp_path / "out"), *flags]) == 2
    said = capsys.readouterr().err
    assert words in said
    assert len(said.splitlines()) == 1
    assert not (tmp_path / "out").exists()


def test_the_command_says_how_to_serve_it_and_replaces_nothing(
    exported: Bundle, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "repository"
    assert main(["export", str(exported.path), str(out), "--triton"]) == 0
    assert f"tritonserver --model-repository={out}" in capsys.readouterr().out
    assert main(["export", str(exported.path), str(out), "--triton"]) == 2
    assert "exists; choose a new directory" in capsys.readouterr().err
