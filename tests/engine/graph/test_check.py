from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

from engine.bundle import Bundle, Golden, softmax
from engine.export.export import export_encoder, export_head
from engine.export.golden_vectors import compute
from engine.graph import convert, half
from engine.graph import onnx_file as graph
from engine.graph.check import check_form, check_half, contract, measured
from engine.graph.topology import Topology, full_precision_region, residual_stream
from tests.engine.conftest import random_crops
from tests.engine.tiny_models import TinyEncoder, tiny_modules, tiny_spec

Models = dict[str, Any]


@pytest.fixture(scope="module")
def full(exported: Bundle) -> Models:
    return {part: graph.load(exported.path / f"{part}.onnx") for part in ("encoder", "head")}


@pytest.fixture
def mixed(full: Models) -> Models:
    return {part: convert.to_half(model) for part, model in full.items()}


def node_of(model: Any, kind: str, nth: int = 0) -> Any:
    return [node for node in model.graph.node if node.op_type == kind][nth]


def insert_cast(model: Any, node: Any, position: int, to: int) -> str:
    """A Cast in front of one input of a node; its name."""
    name = f"planted_{node.output[0]}"
    at = list(model.graph.node).index(node)
    cast = helper.make_node("Cast", [node.input[position]], [name], name=name, to=to)
    model.graph.node.insert(at, cast)
    node = model.graph.node[at + 1]
    node.input[position] = name
    return name


def broken(model: Any, rule: str) -> list[str]:
    return [finding.node for finding in check_form(model) if finding.rule == rule]


def test_exported_graphs_keep_every_rule_in_both_precisions(full: Models, mixed: Models, exported: Bundle) -> None:
    for models in (full, mixed):
        assert [str(f) for model in models.values() for f in check_form(model)] == []
        assert [line for part, model in models.items() for line in contract(model, exported.spec, part)] == []
    assert check_half(mixed["encoder"], mixed["head"], exported.golden()) == []


def test_the_types_alone_say_the_precision(mixed: Models) -> None:
    for model in mixed.values():
        topology = Topology(model)
        for i, node in enumerate(topology.nodes):
            if node.op_type in ("Conv", "Softmax") or (node.op_type == "MatMul" and topology.is_linear(i)):
                cosine = i in full_precision_region(topology)
                assert topology.types[node.output[0]] == (TensorProto.FLOAT if cosine else TensorProto.FLOAT16) or (
                    node.op_type == "Softmax"
                )
        onnx.checker.check_model(model)
    types = {v.name: v.type.tensor_type.elem_type for v in mixed["head"].graph.output}
    assert set(types.values()) == {TensorProto.FLOAT}
    assert mixed["encoder"].graph.output[0].type.tensor_type.elem_type == TensorProto.FLOAT16
    assert mixed["head"].graph.input[0].type.tensor_type.elem_type == TensorProto.FLOAT16


def test_planted_opset(mixed: Models) -> None:
    mixed["head"].opset_import[0].version = 17
    assert broken(mixed["head"], "opset") == ["graph"]
    mixed["head"].opset_import.append(helper.make_opsetid("com.example", 1))
    node_of(mixed["head"], "Split").domain = "com.example"
    assert any("Split" in name for name in broken(mixed["head"], "opset"))


def test_planted_operator_and_type(mixed: Models) -> None:
    node_of(mixed["encoder"], "Sigmoid").op_type = "Hardmax"
    assert any("Hardmax" in name for name in broken(mixed["encoder"], "operators"))
    doubled = node_of(mixed["encoder"], "Softmax")
    insert_cast(mixed["encoder"], doubled, 0, TensorProto.DOUBLE)
    assert any("Softmax" in name for name in broken(mixed["encoder"], "operators"))


def test_planted_layer_norm_in_half(mixed: Models) -> None:
    norm = node_of(mixed["encoder"], "LayerNormalization", 1)
    name = norm.name or norm.output[0]
    insert_cast(mixed["encoder"], norm, 0, TensorProto.FLOAT16)
    assert any(found.startswith(name) for found in broken(mixed["encoder"], "layer-norm-fp32"))


def test_planted_residual_sum_in_half(mixed: Models) -> None:
    model = mixed["encoder"]
    topology = Topology(model)
    added = [i for i in sorted(residual_stream(topology)) if topology.nodes[i].op_type == "Add"]
    sums = [i for i in added if not any(name in topology.constants for name in topology.nodes[i].input)]
    assert len(sums) == 4  # two blocks with two sums each
    assert len(added) >= 8  # and the biases that enter them
    insert_cast(model, topology.nodes[sums[2]], 0, TensorProto.FLOAT16)
    assert topology.label(sums[2]) in broken(model, "residual-fp32")


def test_planted_contract_faults(full: Models, exported: Bundle) -> None:
    encoder, head = full["encoder"], full["head"]
    renamed = onnx.ModelProto()
    renamed.CopyFrom(encoder)
    renamed.graph.output[0].name = "embedding"
    assert any("embedding" in line for line in contract(renamed, exported.spec, "encoder"))
    wide = onnx.ModelProto()
    wide.CopyFrom(head)
    wide.graph.input[0].type.tensor_type.elem_type = TensorProto.INT32
    wide.graph.output[0].type.tensor_type.shape.dim[1].dim_value = 3
    lines = contract(wide, exported.spec, "head")
    assert any(line.startswith("ring is int32") for line in lines)
    assert any(line.startswith("logits has shape") for line in lines)
    late = onnx.ModelProto()
    late.CopyFrom(head)
    first = next(node for node in late.graph.node if "ring" in node.input)
    first.op_type = "GatherElements"
    assert any("must meet in one Gather" in line for line in contract(late, exported.spec, "head"))


def test_planted_cast_in_attention(mixed: Models) -> None:
    name = insert_cast(mixed["encoder"], node_of(mixed["encoder"], "Softmax"), 0, TensorProto.FLOAT16)
    assert broken(mixed["encoder"], "attention-cast") == [f"{name} (Cast)"]


def test_planted_second_and_late_scale(mixed: Models) -> None:
    model = mixed["encoder"]
    softmax_node = node_of(model, "Softmax", 1)
    at = list(model.graph.node).index(softmax_node)
    scale = node_of(model, "Mul").input[1]
    late = helper.make_node("Mul", [softmax_node.input[0], scale], ["late"], name="late")
    softmax_node.input[0] = "late"
    model.graph.node.insert(at, late)
    assert "late (Mul)" in broken(model, "attention-scale")
    model = convert.to_half(mixed["head"])
    product = next(n for n in model.graph.node if n.op_type == "MatMul" and "mul" in n.input[0])
    constant = next(
        n.input[1] for n in model.graph.node if n.op_type == "Mul" and Topology(model).scalar(n.input[1]) is not None
    )
    at = list(model.graph.node).index(product)
    twice = helper.make_node("Mul", [product.input[1], constant], ["twice"], name="twice")
    product.input[1] = "twice"
    model.graph.node.insert(at, twice)
    assert len(broken(model, "attention-scale")) == 1


def test_planted_missing_scale(mixed: Models) -> None:
    model = mixed["encoder"]
    topology = Topology(model)
    scaled = next(
        node
        for node in topology.nodes
        if node.op_type == "Mul" and topology.scalar(node.input[1]) == pytest.approx(8**-0.5, rel=1e-2)
    )
    scaled.op_type = "Add"
    assert any("MatMul" in name for name in broken(model, "attention-scale"))


def test_planted_weight_out_of_range(mixed: Models) -> None:
    tensor = next(t for t in mixed["encoder"].graph.initializer if t.name == "blocks.1.up.weight.T")
    array = numpy_helper.to_array(tensor).copy()
    array[3, 5] = 30000
    tensor.CopyFrom(numpy_helper.from_array(array, tensor.name))
    assert broken(mixed["encoder"], "weight-range") == ["blocks.1.up.weight.T"]


def test_planted_cosine_and_temperature_in_half(mixed: Models) -> None:
    model = mixed["head"]
    divide = node_of(model, "Div")
    name = divide.name or divide.output[0]
    insert_cast(model, divide, 0, TensorProto.FLOAT16)
    assert any(found.startswith(name) for found in broken(model, "scores-fp32"))
    model = mixed["encoder"]
    head = convert.to_half(mixed["head"])
    head.graph.output[0].type.tensor_type.elem_type = TensorProto.FLOAT16
    inner = node_of(head, "ReduceMean")
    position = list(head.graph.node).index(inner)
    final = inner.output[0]
    inner.output[0] = "kept"
    head.graph.node.insert(
        position + 1, helper.make_node("Cast", ["kept"], [final], name="late", to=TensorProto.FLOAT16)
    )
    assert any("late" in found for found in broken(head, "scores-fp32"))


def scale_up(model: Any, name: str, factor: float) -> None:
    tensor = next(t for t in model.graph.initializer if t.name == name)
    array = (numpy_helper.to_array(tensor).astype(np.float32) * factor).astype(np.float16)
    tensor.CopyFrom(numpy_helper.from_array(array, tensor.name))


def test_planted_overflow_is_caught_although_the_cpu_hides_it(mixed: Models, exported: Bundle) -> None:
    """Two large factors whose product leaves half's range and is scaled back: FP32 sees nothing."""
    model = mixed["encoder"]
    norm = next(n for n in model.graph.node if n.op_type == "MatMul" and "blocks.1.up" in n.input[1])
    scale_up(model, "blocks.1.up.weight.T", 60000)
    at = list(model.graph.node).index(norm)
    back = helper.make_node("Mul", ["huge", "quarter"], [norm.output[0]], name="back")
    norm.output[0] = "huge"
    model.graph.node.insert(at + 1, back)
    model.graph.initializer.append(numpy_helper.from_array(np.array(1 / 60000, np.float16), "quarter"))
    import onnxruntime

    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    assert np.isfinite(session.run(None, {"crops": exported.golden().crops[:2]})[0]).all()
    findings = check_half(model, mixed["head"], exported.golden())
    assert {"activation-range"} <= {finding.rule for finding in findings}
    assert "huge" in {finding.node for finding in findings}


def test_rounding_that_moves_scores_is_caught(exported: Bundle) -> None:
    golden = exported.golden()
    moved = golden.probs.copy()
    moved[:4] = np.roll(moved[:4], 1, axis=1)
    findings = list(measured.rounding(half.HalfRun(moved, {}), golden))
    assert [f.rule for f in findings] == ["rounding", "rounding"]
    broken_run = half.HalfRun(np.full_like(golden.probs, np.nan), {"layer": np.inf})
    assert [f.node for f in measured.rounding(broken_run, golden)] == ["layer"]


class Outliers(TinyEncoder):
    """A few channels hundreds of times larger than the rest, as CLIP's residual stream has them."""

    def __init__(self, spec: Any) -> None:
        super().__init__(spec)
        with torch.no_grad():
            self.position[:, :3] *= 400
            self.cls[:3] += 600
            for block in self.blocks:
                block.down.bias[:2] += 300  # type: ignore[union-attr, index, operator]


@pytest.fixture(scope="module")
def close_labels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A head whose labels are close, which keeps scores off 0 and 1."""
    _, head = tiny_modules(tiny_spec(), 3)
    with torch.no_grad():
        head.labels.copy_(head.labels.mean(0) + 0.02 * head.labels)
    path = tmp_path_factory.mktemp("head") / "head.onnx"
    export_head(head, tiny_spec(), path)
    return path


@pytest.mark.parametrize("kind", [TinyEncoder, Outliers])
def test_half_keeps_scores_on_random_and_on_outlier_heavy_weights(
    tmp_path: Path, close_labels: Path, kind: Callable[..., Any]
) -> None:
    spec = tiny_spec()
    torch.manual_seed(3)
    export_encoder(kind(spec).eval(), spec, tmp_path / "encoder.onnx")
    golden = compute(tmp_path / "encoder.onnx", close_labels, spec, random_crops(spec, 24))
    assert np.median(golden.probs.max(1)) < 0.98
    models = [convert.to_half(graph.load(path)) for path in (tmp_path / "encoder.onnx", close_labels)]
    run = half.run(models[0], models[1], golden)
    if kind is Outliers:
        assert max(run.peaks.values()) > 600
    topology = Topology(models[0])
    kinds = {topology.types[name] for i in residual_stream(topology) for name in topology.nodes[i].output}
    assert kinds == {TensorProto.FLOAT}
    assert np.abs(run.probs - golden.probs).max() <= 0.02
    assert (run.probs.argmax(1) == golden.probs.argmax(1)).mean() >= 0.99


def test_rounding_after_every_node_is_what_half_arithmetic_gives() -> None:
    nodes = [
        helper.make_node("Mul", ["x", "x"], ["square"]),
        helper.make_node("Add", ["square", "one"], ["sum"]),
        helper.make_node("Cast", ["sum"], ["features"], to=TensorProto.FLOAT),
    ]
    model = helper.make_model(
        helper.make_graph(
            nodes,
            "g",
            [helper.make_tensor_value_info("x", TensorProto.FLOAT16, [None])],
            [helper.make_tensor_value_info("features", TensorProto.FLOAT, [None])],
            [numpy_helper.from_array(np.array(1, np.float16), "one")],
        ),
        opset_imports=[helper.make_opsetid("", 18)],
        ir_version=9,
    )
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(
        half.rounded(model).SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    x = np.linspace(-300, 300, 4001, dtype=np.float32)
    values = dict(zip([o.name for o in session.get_outputs()], session.run(None, {"x": x}), strict=True))
    with np.errstate(over="ignore"):
        halves = x.astype(np.float16)
        expected = (halves * halves).astype(np.float16) + np.float16(1)
    assert np.array_equal(values["features"], expected.astype(np.float32))
    assert np.isinf(values["peak:square"])


def test_a_fixed_batch_is_fixed(full: Models) -> None:
    fixed = convert.with_batch(full["head"], 3, rows="rows")
    shapes = {v.name: v.type.tensor_type.shape.dim for v in (*fixed.graph.input, *fixed.graph.output)}
    assert shapes["index"][0].dim_value == shapes["logits"][0].dim_value == 3
    assert shapes["ring"][0].dim_param == "rows"
    onnx.checker.check_model(fixed)


def test_softmax_sums_to_one() -> None:
    probs = softmax(np.array([[1000.0, 0.0], [-5.0, -5.0]]))
    assert probs.tolist() == [[1.0, 0.0], [0.5, 0.5]]
    assert isinstance(Golden, type)
