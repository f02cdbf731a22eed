from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from engine.build.build import build
from engine.build.options import BuildOptions
from engine.bundle.bundle import Bundle
from engine.cli import main
from engine.export.export import export_bundle
from engine.export.rewrite import reproduce, rewrite
from engine.graph import convert
from engine.graph import onnx_file as graph
from engine.graph.check import check_form
from engine.graph.inspect import describe
from engine.graph.onnx_file import GraphError
from tests.engine.conftest import random_crops
from tests.engine.tiny_models import tiny_modules, tiny_spec


def opset_of(model: Any) -> int:
    return next(int(entry.version) for entry in model.opset_import if entry.domain in ("", "ai.onnx"))


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
@pytest.mark.parametrize("opset", [None, 18, 23])
def test_exported_graphs_keep_every_rule_in_both_opsets(
    exported: Bundle, tmp_path: Path, precision: str, opset: int | None
) -> None:
    done = rewrite(exported.path, tmp_path / "out", precision, opset=opset)
    assert done.opset == (opset or 18)
    assert (done.low, done.high) == (1, 8)
    assert done.max_delta <= (1e-5 if precision == "fp32" else 0.02)
    assert "batch 1 to 8" in done.lines()[0]
    for part in ("encoder", "head"):
        described = describe(tmp_path / "out" / f"{part}.onnx")
        assert described.opset == {"ai.onnx": opset or 18}
        assert described.batch == "1-8"
        assert described.findings == []
        assert f"opset {opset or 18}, batch 1-8" in described.lines()[1]
        model = graph.load(tmp_path / "out" / f"{part}.onnx")
        onnx.checker.check_model(model, full_check=True)
        if precision == "fp32":
            before, after = graph.initializers(graph.load(exported.path / f"{part}.onnx")), graph.initializers(model)
            assert set(before) == set(after)
            assert all(np.array_equal(before[name], after[name]) for name in before)


def test_a_module_exported_at_opset_23_goes_the_whole_way(tmp_path: Path) -> None:
    spec = tiny_spec()
    encoder, head = tiny_modules(spec, depth=1)
    bundle = export_bundle(
        encoder, head, spec, tmp_path / "b", golden_crops=random_crops(spec, 9), provenance={}, metrics={}, opset=23
    )
    for path in (bundle.encoder, bundle.head):
        assert opset_of(graph.load(path)) == 23
        assert [str(finding) for finding in check_form(graph.load(path))] == []
    assert build(bundle.path, tmp_path / "e", "openvino", BuildOptions(precision="fp32")).parity.top1 == 1.0
    assert rewrite(bundle.path, tmp_path / "half").opset == 23
    with pytest.raises(GraphError, match="opset 23.*cannot be taken back to 18"):
        rewrite(bundle.path, tmp_path / "back", opset=18)
    assert not (tmp_path / "back").exists()


def test_an_operator_that_the_opset_does_not_have_is_named(exported: Bundle) -> None:
    model = graph.load(exported.encoder)
    node = next(n for n in model.graph.node if n.op_type == "Sigmoid")
    node.op_type = "Gelu"
    name = node.name or node.output[0]
    found = [f for f in check_form(model) if f.rule == "operators"]
    assert [f.node for f in found] == [f"{name} (Gelu)"]
    assert "from opset 20" in found[0].message
    newer = convert.with_opset(graph.load(exported.encoder), 23)
    next(n for n in newer.graph.node if n.op_type == "Sigmoid").op_type = "Gelu"
    assert [f for f in check_form(newer) if f.rule == "operators"] == []


@pytest.mark.parametrize(("batch", "shown"), [(1, "1"), (3, "3"), ((2, 5), "2-5")])
def test_a_batch_is_fixed_or_bounded_and_proven(exported: Bundle, tmp_path: Path, batch: Any, shown: str) -> None:
    assert rewrite(exported.path, tmp_path / "out", "fp16", batch).max_delta <= 0.02
    for part in ("encoder", "head"):
        model = graph.load(tmp_path / "out" / f"{part}.onnx")
        assert graph.metadata(model)["dferstream.batch"] == shown
        values = [*model.graph.output, *(v for v in model.graph.input if v.name != "ring")]
        sizes = {value.type.tensor_type.shape.dim[0].dim_value for value in values}
        assert sizes == {batch if isinstance(batch, int) else 0}


def test_a_batch_that_is_baked_in_is_found_by_running(exported: Bundle, tmp_path: Path) -> None:
    rewrite(exported.path, tmp_path / "out", "fp32")
    head = graph.load(tmp_path / "out" / "head.onnx")
    made = next(node for node in head.graph.node if "logits" in node.output)
    made.output[list(made.output).index("logits")] = "inner"
    classes = len(exported.spec.labels)
    head.graph.initializer.append(numpy_helper.from_array(np.array([8, classes], np.int64), "eight"))
    head.graph.node.append(helper.make_node("Reshape", ["inner", "eight"], ["logits"], name="baked"))
    assert [str(finding) for finding in check_form(head)] == []
    graph.save(head, tmp_path / "out" / "head.onnx")
    golden = exported.golden()
    assert reproduce(tmp_path / "out", exported.spec, golden, 8, 8) <= 1e-5
    with pytest.raises(GraphError, match=r"head\.onnx does not run at batch 4"):
        reproduce(tmp_path / "out", exported.spec, golden, 1, 8)


def test_graphs_that_answer_something_else_never_appear(
    exported: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def colder(model: Any, *_: Any) -> Any:
        for tensor in model.graph.initializer:
            if tensor.name.startswith("proj"):
                tensor.CopyFrom(numpy_helper.from_array(-numpy_helper.to_array(tensor), tensor.name))
        return model

    monkeypatch.setattr(convert, "with_opset", colder)
    with pytest.raises(GraphError, match="move probabilities"):
        rewrite(exported.path, tmp_path / "out", "fp32", opset=23)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("--batch", "0", "profile such as 1-8"),
        ("--batch", "8-1", "profile such as 1-8"),
        ("--batch", "some", "profile such as 1-8"),
        ("--opset", "17", "invalid choice"),
    ],
)
def test_impossible_options_are_refused(
    exported: Bundle, tmp_path: Path, capsys: pytest.CaptureFixture[str], option: str, value: str, message: str
) -> None:
    with pytest.raises(SystemExit):
        main(["export", str(exported.path), str(tmp_path / "out"), option, value])
    assert message in capsys.readouterr().err
    with pytest.raises(GraphError, match="upwards"):
        rewrite(exported.path, tmp_path / "out", batch=(3, 2))
