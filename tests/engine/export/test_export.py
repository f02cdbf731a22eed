from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from torch import nn

from engine.bundle import Bundle, softmax
from engine.export.export import ExportError, export_bundle, export_encoder, export_head
from engine.graph import onnx_file as graph
from tests.engine.conftest import random_crops
from tests.engine.tiny_models import tiny_modules, tiny_spec


def test_graphs_answer_what_the_modules_answer(exported: Bundle) -> None:
    encoder, head = tiny_modules(exported.spec)
    vectors = exported.golden()
    with torch.no_grad():
        features = encoder(torch.from_numpy(vectors.crops))
        logits, relevance, now = head(features[torch.from_numpy(vectors.windows).long()])
    assert now is not None
    assert vectors.now is not None
    assert np.allclose(vectors.features, features.numpy(), atol=1e-5)
    # Logits are cosines over 0.01, so f32's own noise is 1e-4 of them; probabilities are what must agree.
    assert np.abs(softmax(vectors.logits) - softmax(logits.numpy())).max() <= 1e-5
    assert np.allclose(vectors.relevance, relevance.numpy(), atol=1e-4)
    assert np.allclose(vectors.now, now.numpy(), atol=1e-3)


@pytest.mark.parametrize(("unit", "window", "has_now"), [(2, 4, False), (4, 1, True)])
def test_other_units_and_windows(tmp_path: Path, unit: int, window: int, has_now: bool) -> None:
    spec = tiny_spec(unit, window, has_now=has_now)
    encoder, head = tiny_modules(spec, depth=1)
    crops = random_crops(spec, 9)
    bundle = export_bundle(encoder, head, spec, tmp_path / "b", golden_crops=crops, provenance={}, metrics={"war": 0.5})
    vectors = bundle.golden()
    assert vectors.relevance.shape == (256, unit * window)
    assert (vectors.now is not None) == has_now
    assert bundle.metrics == {"war": 0.5}


def test_weights_come_back_as_a_checkpoint(exported: Bundle) -> None:
    for part, module in zip(("encoder", "head"), tiny_modules(exported.spec), strict=True):
        weights = graph.read_weights(exported.path, part)
        state = module.state_dict()
        assert set(weights) == set(state)
        for name, value in state.items():
            assert np.array_equal(weights[name], value.numpy()), name
    model = onnx.load(str(exported.encoder), load_external_data=False)
    assert "blocks.0.attention.qkv.weight.T" in {t.name for t in model.graph.initializer}


def test_export_is_deterministic_names_no_path_and_gives_training_mode_back(tmp_path: Path, exported: Bundle) -> None:
    spec = exported.spec
    encoder, head = (module.train() for module in tiny_modules(spec))
    export_encoder(encoder, spec, tmp_path / "encoder.onnx")
    export_head(head, spec, tmp_path / "head.onnx")
    assert encoder.training
    assert head.training
    for name in ("encoder.onnx", "encoder.onnx.data", "head.onnx", "head.onnx.data"):
        written = (tmp_path / name).read_bytes()
        assert written == (exported.path / name).read_bytes(), name
        assert b".py" not in written
        assert b"/home" not in written


def test_weights_are_stored_once_and_aligned(exported: Bundle) -> None:
    for part in (exported.encoder, exported.head):
        model = onnx.load(str(part), load_external_data=False)
        placed = [{e.key: e.value for e in t.external_data} for t in model.graph.initializer if t.external_data]
        assert placed
        assert all(int(entry["offset"]) % 64 == 0 for entry in placed)
        stored = sum(int(entry["length"]) for entry in placed)
        assert stored <= part.with_name(part.name + ".data").stat().st_size < stored + 64 * len(placed) + 4096
        assert part.stat().st_size < 40_000


def test_bytes_are_cast_at_once_and_normalised_inside(exported: Bundle) -> None:
    model = graph.load(exported.encoder)
    users = [node.op_type for node in model.graph.node if "crops" in node.input]
    assert sorted(set(users)) in (["Cast"], ["Cast", "Shape"])
    patch = next(node for node in model.graph.node if node.op_type == "Conv")
    extra = onnx.helper.make_tensor_value_info(patch.input[0], onnx.TensorProto.FLOAT, None)
    model.graph.output.append(extra)
    crops = exported.golden().crops[:3]
    import onnxruntime

    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    values = session.run([patch.input[0]], {"crops": crops})[0]
    normal = (crops / 255 - exported.spec.mean) / exported.spec.std
    assert np.allclose(values, np.moveaxis(normal, -1, 2).reshape(values.shape), atol=1e-5)


class _NoGather(nn.Module):
    def forward(self, features: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return features.mean(1)[:, :7], features.mean(2)


def test_modules_that_break_the_contract_are_refused(tmp_path: Path) -> None:
    spec = tiny_spec()
    encoder, head = tiny_modules(spec)
    wide: Any = tiny_spec(feature=64)
    with pytest.raises(ExportError, match=r"\(2, 48\).*\(2, 64\)"):
        export_encoder(encoder, wide, tmp_path / "encoder.onnx")
    with pytest.raises(ExportError, match="the spec says"):
        export_head(_NoGather(), spec, tmp_path / "head.onnx")
    with pytest.raises(ExportError, match="opset"):
        export_bundle(
            encoder, head, spec, tmp_path / "b", golden_crops=random_crops(spec, 8), provenance={}, metrics={}, opset=17
        )
    assert not list(tmp_path.iterdir())


def test_a_feature_of_zeros_gives_numbers(exported: Bundle) -> None:
    model = graph.load(exported.head)
    roots = [node for node in model.graph.node if node.op_type == "Sqrt"]
    made = {name: node.op_type for node in model.graph.node for name in node.output}
    assert roots
    assert all(made[node.input[0]] == "Add" for node in roots)


class _BareCosine(nn.Module):
    def forward(self, features: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        x = features * torch.rsqrt(features.square().sum(-1, keepdim=True) + 1e-12)
        scores = x[..., :7] / 0.01
        return scores.mean(1), scores.sum(-1), scores[:, -1]


def test_the_norm_of_a_zero_vector_stays_zero_in_the_graph(tmp_path: Path) -> None:
    import onnxruntime

    spec = tiny_spec()
    export_head(_BareCosine(), spec, tmp_path / "head.onnx")
    session = onnxruntime.InferenceSession(str(tmp_path / "head.onnx"), providers=["CPUExecutionProvider"])
    ring, index = np.zeros((9, spec.feature), np.float32), np.zeros((1, spec.window), np.int32)
    assert all((value == 0).all() for value in session.run(None, {"ring": ring, "index": index}))
