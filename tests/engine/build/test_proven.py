from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from engine.backends import cpu_precision, open_backend
from engine.build import proven
from engine.build.proven import proven_precision
from engine.bundle.bundle import Bundle
from engine.bundle.golden import Bounds, ParityError

DEFAULT = Path(__file__).parents[3] / "stream" / "default_model"
BOTH = {"fp32": 2.0, "bf16": 1.0}


@pytest.fixture
def bundle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bundle:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return Bundle.open(DEFAULT)


def kept(folder: Path) -> list[str]:
    return [path.read_text() for path in folder.rglob("*.precision")]


def test_bf16_where_the_gate_lets_it_pass_and_the_verdict_is_kept(
    bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if "bf16" not in cpu_precision.measure(1):
        pytest.skip("this CPU has no bf16")
    monkeypatch.setattr(proven, "measure", lambda threads=None: BOTH)
    first = proven_precision(bundle)
    assert kept(tmp_path) == [first or "fp32"]
    monkeypatch.setattr(proven, "gate", None)  # a second start reads the verdict and proves nothing again
    assert proven_precision(bundle) == first
    if first == "bf16":
        backend = open_backend(bundle, "openvino", precision=first)
        golden = bundle.golden()
        features = np.asarray(backend.encode(golden.crops[:8]))
        # A face's features do not depend on who else is in the batch.
        assert (np.asarray(backend.encode(golden.crops[3:4])) == features[3:4]).all()
        assert Bounds().max_delta >= abs(features - golden.features[:8]).max() > 0
        backend.close()


def test_fp32_where_the_gate_refuses_or_bf16_is_not_faster(
    bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise ParityError("too far", "stay")

    monkeypatch.setattr(proven, "measure", lambda threads=None: BOTH)
    monkeypatch.setattr(proven, "gate", refuse)
    assert proven_precision(bundle) is None
    assert kept(tmp_path) == ["fp32"]
    (verdict,) = tmp_path.rglob("*.precision")
    verdict.write_bytes(b"\xff nonsense")
    monkeypatch.setattr(proven, "measure", lambda threads=None: {"fp32": 1.0, "bf16": 1.0})
    assert proven_precision(bundle) is None
    assert kept(tmp_path) == ["fp32"]


def test_nothing_is_proven_where_no_verdict_can_be_kept(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(proven, "cache_folder", lambda: None)
    monkeypatch.setattr(proven, "gate", None)
    assert proven_precision(bundle) is None
