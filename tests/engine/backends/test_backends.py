from __future__ import annotations

import subprocess
import sys
import textwrap

import numpy as np
import pytest

from engine.backends import BackendError, open_backend
from engine.backends import choice as choice_module
from engine.bundle.bundle import Bundle
from engine.bundle.golden import softmax
from engine.preprocess import CropError

CPU = [("openvino", "fp32"), ("openvino", "bf16"), ("onnxruntime", "fp32")]


@pytest.mark.parametrize(("name", "precision"), CPU)
def test_golden_vectors_come_back(exported: Bundle, name: str, precision: str) -> None:
    golden = exported.golden()
    backend = open_backend(exported, name, precision=precision)
    assert backend.precision == precision
    features = np.asarray(backend.encode(golden.crops))
    output = backend.head(features, golden.windows)
    backend.close()
    backend.close()
    # bf16 keeps 8 bits: 2e-2 on probabilities is the gate's bound, 1e-5 is f32's.
    tolerance = 1e-5 if precision == "fp32" else 2e-2
    assert np.abs(softmax(output.logits) - golden.probs).max() <= tolerance
    loose = tolerance if precision == "fp32" else 6e-2  # single samples move more than their mean
    assert np.abs(output.relevance - golden.relevance).max() <= loose
    assert output.now is not None
    assert golden.now is not None
    assert np.abs(softmax(output.now) - softmax(golden.now)).max() <= loose


@pytest.mark.parametrize(("name", "precision"), CPU)
def test_ring_is_read_where_it_lies(exported: Bundle, name: str, precision: str) -> None:
    """What is pushed after the ring was first handed over is seen: nothing was copied at binding."""
    golden = exported.golden()
    backend = open_backend(exported, name, precision=precision)
    ring = backend.ring(2, exported.spec.window)
    other = backend.ring(1, exported.spec.window)
    other.push(0, golden.features[0])
    first_of_other = backend.head(other.flat, other.index(0, exported.spec.window)[None])
    for row in golden.features[:11]:
        ring.push(1, row)
        index = ring.index(1, exported.spec.window)[None]
        streamed = backend.head(ring.flat, index)
        whole = backend.head(np.ascontiguousarray(ring.flat[index[0]]), np.arange(len(index[0]), dtype=np.int32)[None])
        assert np.array_equal(streamed.logits, whole.logits)
    again = backend.head(other.flat, other.index(0, exported.spec.window)[None])
    assert np.array_equal(again.logits, first_of_other.logits)
    backend.close()


@pytest.mark.parametrize("name", ["openvino", "onnxruntime"])
def test_answers_are_the_callers_own(exported: Bundle, name: str) -> None:
    golden = exported.golden()
    backend = open_backend(exported, name, precision="fp32")
    first = np.asarray(backend.encode(golden.crops[:2]))
    kept = first.copy()
    backend.encode(golden.crops[2:4])
    assert np.array_equal(first, kept)
    with pytest.raises(CropError):
        backend.encode(np.zeros((1, 1, 16, 16, 3), np.uint8))
    backend.close()


def test_auto_takes_openvino_on_a_cpu_and_says_why(exported: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(choice_module, "has_nvidia_device", lambda: False)
    backend = open_backend(exported.path, threads=1)
    assert backend.name == "openvino"
    assert "dfer-engine build" in backend.reason
    assert "no NVIDIA device" in backend.reason
    assert not backend.degraded
    backend.close()


def test_a_failing_back_end_falls_back_and_says_so(exported: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    import engine.backends.openvino as openvino_module

    def broken(*_: object, **__: object) -> None:
        raise BackendError("this CPU has no such instruction")

    monkeypatch.setattr(openvino_module, "OpenVinoBackend", broken)
    backend = open_backend(exported)
    assert backend.name == "onnxruntime"
    assert backend.degraded
    assert "no such instruction" in backend.reason
    backend.close()
    excluded = open_backend(exported, exclude=["openvino"])
    assert (excluded.name, excluded.degraded) == ("onnxruntime", True)
    excluded.close()
    with pytest.raises(BackendError, match="no back end can run"):
        open_backend(exported, exclude=["openvino", "onnxruntime"])


@pytest.mark.parametrize(
    ("name", "precision", "message"),
    [
        ("tpu", None, "unknown back end"),
        ("onnxruntime", "fp16", "fp32"),
        ("openvino", "fp64", "bf16"),
    ],
)
def test_impossible_choices_are_refused(exported: Bundle, name: str, precision: str | None, message: str) -> None:
    with pytest.raises(BackendError, match=message):
        open_backend(exported, name, precision=precision)


def test_runtime_runs_where_torch_and_onnx_are_not_installed(exported: Bundle) -> None:
    program = textwrap.dedent("""
        import sys
        for name in ("torch", "onnx", "onnxscript", "nncf", "cv2"):
            sys.modules[name] = None  # any import of it raises
        import numpy as np
        from engine.backends import open_backend
        for name in ("auto", "onnxruntime"):
            backend = open_backend(sys.argv[1], name)
            size = backend.spec.crop.size_px
            ring = backend.ring(1, backend.spec.window)
            for feature in backend.encode(np.zeros((2, backend.spec.unit, size, size, 3), np.uint8)):
                ring.push(0, feature)
            out = backend.head(ring.flat, ring.index(0, backend.spec.window)[None])
            assert np.isfinite(out.logits).all()
            print(backend.name)
    """)
    done = subprocess.run(
        [sys.executable, "-c", program, str(exported.path)], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["openvino", "onnxruntime"]
