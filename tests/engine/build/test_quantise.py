"""INT8: ranges from captured crops, and which rule takes them."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from engine.backends import open_backend
from engine.build.build import Built, build
from engine.build.options import BuildError, BuildOptions
from engine.build.quantise import read_crops, split_crops
from engine.bundle.bundle import Bundle
from engine.bundle.golden import Bounds

pytest.importorskip("nncf")


@pytest.fixture(scope="module")
def built(exported: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Built:
    """An engine in INT8."""
    folder = tmp_path_factory.mktemp("int8")
    np.savez(folder / "crops.npz", crops=exported.golden().crops[:, 0])
    options = BuildOptions(precision="int8", bounds=Bounds(0.2, 0.9), crops=folder / "crops.npz")
    return build(exported.path, folder / "engine", "openvino", options)


def test_int8_is_built_from_captured_crops_and_gated(built: Built) -> None:
    assert built.engine.precision == "int8"
    assert built.engine.encoder.name == "encoder.xml"
    assert {"encoder.bin", "encoder.xml", "head.onnx"} <= set(built.engine.files)
    assert "encoder.onnx" not in built.engine.files
    backend = open_backend(built.engine.path)
    assert backend.precision == "int8"
    backend.close()


def test_crops_that_cannot_give_ranges_are_refused(exported: Bundle, tmp_path: Path) -> None:
    np.savez(tmp_path / "few.npz", crops=exported.golden().crops[:3])
    with pytest.raises(BuildError, match="3 crops"):
        read_crops(tmp_path / "few.npz", exported)
    (tmp_path / "text.npz").write_text("no archive")
    with pytest.raises(BuildError, match=r"text\.npz"):
        read_crops(tmp_path / "text.npz", exported)


def test_int8_takes_the_ranges_that_come_nearer(built: Built) -> None:
    said = next(note for note in built.notes if note.startswith("ranges"))
    errors = {name: float(error) for error, name in re.findall(r"features ([\d.]+) % from FP32 by ([a-z ]+)", said)}
    assert sorted(errors) == ["the largest", "the mean largest"]
    assert said.startswith(f"ranges by {min(errors, key=lambda name: errors[name])} value of a crop")
    assert max(errors.values()) < 20


def test_crops_that_judge_ranges_do_not_give_them() -> None:
    numbers = np.arange(1000)
    crops = np.stack([numbers // 256, numbers % 256], 1).astype(np.uint8)
    taken, judges = (part.astype(int) @ [256, 1] for part in split_crops(crops))
    assert (len(taken), len(judges)) == (300, 250)
    assert not np.isin(judges, taken).any()
    # Captured crops are in the order of a recording: ranges come from all of it.
    assert taken[0] < 10
    assert taken[-1] > 990
    few, same = split_crops(crops[:31])
    assert np.array_equal(few, same)
