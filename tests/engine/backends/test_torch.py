from __future__ import annotations

from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

from engine.backends import BackendError, open_backend
from engine.backends.pytorch import TorchBackend
from engine.backends.torch_graph import OnnxModule
from engine.backends.torch_operators import OPERATORS
from engine.build.gate import replay
from engine.bundle.bundle import Bundle
from engine.graph.check.operators import ALLOWED


@pytest.mark.parametrize("precision", ["fp32", "fp16", "bf16"])
def test_torch_reproduces_the_golden_vectors(exported: Bundle, precision: str) -> None:
    backend = TorchBackend(exported, precision=precision, device="cpu")
    assert backend.graph_note == "not a GPU"
    parity = replay(backend, exported.golden())
    assert parity.max_delta <= (1e-5 if precision == "fp32" else 0.02)
    assert parity.top1 >= 0.99
    backend.close()


def test_streaming_through_the_torch_ring_equals_offline(exported: Bundle) -> None:
    backend = TorchBackend(exported, precision="fp32", device="cpu")
    golden = exported.golden()
    ring = backend.ring(2, exported.spec.window)
    for step in range(20):
        features = backend.encode(golden.crops[step : step + 2])
        for slot in range(2):
            ring.push(slot, features[slot])
        index = np.stack([ring.index(slot, exported.spec.window) for slot in range(2)])
        streamed = backend.head(ring.flat, index)
        for slot in range(2):
            rows = [max(i, 0) + slot for i in range(step - exported.spec.window + 1, step + 1)]
            offline = backend.head(golden.features, np.array([rows], np.int32))
            assert np.allclose(streamed.logits[slot], offline.logits[0], atol=1e-3)
    backend.close()


def test_unknown_precision_and_operator_are_refused(exported: Bundle) -> None:
    with pytest.raises(BackendError, match="fp16, bf16 or fp32"):
        open_backend(exported, "torch", precision="int8")
    model = helper.make_model(
        helper.make_graph(
            [helper.make_node("Hardmax", ["x"], ["y"])],
            "g",
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, [2])],
            [helper.make_tensor_value_info("y", TensorProto.FLOAT, [2])],
        )
    )
    with pytest.raises(BackendError, match="Hardmax"):
        OnnxModule(model)


def test_every_operator_torch_knows_is_on_tensorrts_list() -> None:
    assert set(OPERATORS) <= set(ALLOWED)


CASES = [
    ("Slice", [("starts", [1]), ("ends", [2**62]), ("axes", [1]), ("steps", [2])], {}, (2, 7)),
    ("Slice", [("starts", [-1]), ("ends", [-(2**62)]), ("axes", [1]), ("steps", [-1])], {}, (2, 7)),
    ("Reshape", [("shape", [0, -1])], {}, (2, 3, 4)),
    ("Expand", [("shape", [4, 1, 3])], {}, (2, 3)),
    ("Unsqueeze", [("axes", [0, -1])], {}, (2, 3)),
    ("Squeeze", [("axes", [1])], {}, (2, 1, 3)),
    ("Gather", [("indices", [[0, -1], [2, 1]])], {"axis": 1}, (2, 3, 4)),
    ("ReduceSum", [("axes", [1])], {"keepdims": 0}, (2, 3, 4)),
    ("ReduceMax", [], {"keepdims": 1}, (2, 3)),
    ("AveragePool", [], {"kernel_shape": [2, 2], "strides": [2, 2]}, (1, 2, 6, 6)),
    ("MaxPool", [], {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [1, 1, 0, 0]}, (1, 2, 6, 6)),
    ("Softmax", [], {"axis": 1}, (2, 3, 4)),
    ("ArgMax", [], {"axis": -1, "keepdims": 0}, (2, 5)),
]


@pytest.mark.parametrize(("kind", "extras", "attributes", "shape"), CASES)
def test_operators_agree_with_onnx_runtime(
    kind: str, extras: list[tuple[str, list[int]]], attributes: dict[str, Any], shape: tuple[int, ...]
) -> None:
    if kind == "Expand":
        extras = [("shape", [4, *[1] * (len(shape) - 1), shape[-1]])] if len(shape) > 2 else [("shape", [4, 2, 3])]
    node = helper.make_node(kind, ["x", *[name for name, _ in extras]], ["y"], **attributes)
    out = TensorProto.INT64 if kind == "ArgMax" else TensorProto.FLOAT
    model = helper.make_model(
        helper.make_graph(
            [node],
            "g",
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, list(shape))],
            [helper.make_tensor_value_info("y", out, None)],
            [numpy_helper.from_array(np.array(value, np.int64), name) for name, value in extras],
        ),
        opset_imports=[helper.make_opsetid("", 18)],
        ir_version=9,
    )
    x = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    expected = session.run(None, {"x": x})[0]
    found = OnnxModule(model)(torch.from_numpy(x))[0].numpy()
    assert found.shape == expected.shape
    assert np.allclose(found, expected, atol=1e-6)
