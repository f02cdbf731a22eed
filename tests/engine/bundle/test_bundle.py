from __future__ import annotations

import io
import json
import os
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from engine.bundle import Bundle, BundleError, add_file, write_bundle
from engine.bundle.bundle import MANIFEST
from engine.bundle.files import encode_manifest, file_sha256


def flip(path: Path, at: int, bit: int = 0) -> None:
    data = bytearray(path.read_bytes())
    data[at] ^= 1 << bit
    path.write_bytes(bytes(data))


def rewrite(root: Path, change: dict[str, Any]) -> None:
    values = json.loads((root / MANIFEST).read_bytes())
    (root / MANIFEST).write_bytes(encode_manifest({**values, **change}))


def test_bundle_says_what_was_written(exported: Bundle) -> None:
    again = Bundle.open(exported.path)
    assert again == exported
    assert again.spec.name == "tiny"
    assert again.provenance["weights"] == "random"
    golden = again.golden()
    assert golden.crops.dtype == np.uint8
    assert golden.windows.shape == (256, again.spec.window)
    assert golden.logits.shape == golden.probs.shape == (256, 7)
    assert np.allclose(golden.probs.sum(1), 1, atol=1e-6)
    assert again.calibration() is None


def test_one_flipped_byte_of_any_file_is_refused_by_name(copied: Path) -> None:
    files = sorted(p for p in copied.iterdir())
    assert {p.name for p in files} >= {
        MANIFEST, "encoder.onnx", "encoder.onnx.data", "head.onnx", "head.onnx.data", "golden.npz",
    }  # fmt: skip
    for file in files:
        whole = file.read_bytes()
        for at in (0, len(whole) // 2, len(whole) - 1):
            flip(file, at, 2)
            with pytest.raises(BundleError, match=file.name):
                Bundle.open(copied)
            file.write_bytes(whole)
    Bundle.open(copied)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(at=st.integers(0, 1 << 20), bit=st.integers(0, 7))
def test_no_bit_of_the_manifest_can_change_unseen(copied: Path, at: int, bit: int) -> None:
    file = copied / MANIFEST
    whole = file.read_bytes()
    try:
        flip(file, at % len(whole), bit)
        with pytest.raises(BundleError, match=MANIFEST):
            Bundle.open(copied)
    finally:
        file.write_bytes(whole)


def test_newer_format_is_refused_with_the_remedy(copied: Path) -> None:
    rewrite(copied, {"format_version": 2})
    with pytest.raises(BundleError, match="format_version 2.*upgrade"):
        Bundle.open(copied)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format": "zip"}, "not of format"),
        ({"format_version": "1"}, "format_version"),
        ({"extra": 1}, "altered"),
        ({"files": {"../encoder.onnx": "0", "encoder.onnx": "0", "head.onnx": "0", "golden.npz": "0"}}, "plain"),
        ({"files": {"encoder.onnx": "0"}}, r"does not list head\.onnx"),
        ({"spec": {"name": "x"}}, "impossible spec"),
    ],
)
def test_impossible_manifests_are_refused(copied: Path, change: dict[str, Any], message: str) -> None:
    rewrite(copied, change)
    with pytest.raises(BundleError, match=message):
        Bundle.open(copied)


SPEC: dict[str, dict[str, Any]] = {
    "window": {"window": 10**9},
    "unit": {"unit": 10**6},
    "feature": {"feature": 10**12},
    "has_now": {"has_now": "x"},
    "sample_hz": {"sample_hz": 10**400},
    "sample_hz is none": {"sample_hz": None},
    "mean": {"mean": ["x", 0, 0]},
    "std": {"std": [0, 0, float("nan")]},
    "labels": {"labels": [["a"], "b"]},
    "name is a number": {"name": 3},
    "name has an escape": {"name": "a\x1b[31m"},
    "label has a line break": {"labels": ["a\nb", "c"]},
    "crop": {"crop": 3},
    "crop.template": {"crop": {"template": "x"}},
    "crop.template is infinite": {"crop": {"template": [[float("inf"), 0]] * 5}},
    "crop.size_px": {"crop": {"size_px": 10**9}},
}


@pytest.mark.parametrize("name", SPEC)
def test_a_spec_beyond_reason_is_refused_before_anything_is_allocated(copied: Path, name: str) -> None:
    values = json.loads((copied / MANIFEST).read_bytes())["spec"]
    rewrite(copied, {"spec": {**values, **SPEC[name]}})
    with pytest.raises(BundleError, match="impossible spec") as refused:
        Bundle.open(copied)
    assert len(str(refused.value)) < 1000
    assert str(refused.value).isprintable()


def test_a_manifest_of_the_wrong_shape_is_refused(copied: Path) -> None:
    whole = (copied / MANIFEST).read_bytes()
    changes: tuple[dict[str, Any], ...] = ({"files": None}, {"spec": None}, {"metrics": []}, {"provenance": "x"})
    for change in changes:
        (copied / MANIFEST).write_bytes(whole)
        rewrite(copied, change)
        with pytest.raises(BundleError, match=f"holds {next(iter(change))} that is no table"):
            Bundle.open(copied)
    files = json.loads(whole)["files"]
    for odd in ({"a\0b": "0"}, {"a\nb": "0"}, {"a": 3}):
        (copied / MANIFEST).write_bytes(whole)
        rewrite(copied, {"files": {**files, **odd}})
        with pytest.raises(BundleError, match="not a plain file name"):
            Bundle.open(copied)
    for text in (b"[" * 200_000, b'{"a":' * 200_000, b"\xff", b"9" * 10_000, b"{" + b" " * (17 << 20)):
        (copied / MANIFEST).write_bytes(text)
        with pytest.raises(BundleError, match=MANIFEST):
            Bundle.open(copied)


@pytest.mark.parametrize("name", [MANIFEST, "golden.npz", "head.onnx.data"])
def test_what_is_no_file_is_refused_and_never_waited_for(copied: Path, name: str) -> None:
    (copied / name).unlink()
    os.mkfifo(copied / name)
    with pytest.raises(BundleError, match=f"{name}.*not a regular file"):
        Bundle.open(copied)
    (copied / name).unlink()
    (copied / name).symlink_to("/dev/zero")
    with pytest.raises(BundleError, match=f"{name}.*not a regular file"):
        Bundle.open(copied)


def test_golden_vectors_that_unpack_without_end_are_refused(copied: Path) -> None:
    with zipfile.ZipFile(copied / "golden.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("crops.npy", _header((1 << 40,)) + b"x")
    bundle = add_file(Bundle.open(_repinned(copied)), "MODEL_CARD.md", b"x")
    with pytest.raises(BundleError, match=r"golden\.npz .* is damaged"):
        bundle.golden()


def _header(shape: tuple[int, ...]) -> bytes:
    stream = io.BytesIO()
    np.lib.format.write_array_header_1_0(stream, {"descr": "|u1", "fortran_order": False, "shape": shape})
    return stream.getvalue()


def _repinned(root: Path) -> Path:
    values = json.loads((root / MANIFEST).read_bytes())
    rewrite(root, {"files": {name: file_sha256(root / name) for name in values["files"]}})
    return root


def test_missing_pieces_are_named(copied: Path, tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="not a bundle"):
        Bundle.open(tmp_path)
    (copied / "head.onnx.data").unlink()
    with pytest.raises(BundleError, match=r"head\.onnx\.data"):
        Bundle.open(copied)


def test_writing_is_all_or_nothing(exported: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files: dict[str, bytes | Path] = {name: exported.path / name for name in exported.files}
    target = tmp_path / "out"
    first = write_bundle(target, exported.spec, files, {"n": 1}, {})

    def interrupted(source: Any, target: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write_bundle(target, exported.spec, files, {"n": 2}, {})
    monkeypatch.undo()
    assert Bundle.open(target).provenance == first.provenance
    assert os.listdir(tmp_path) == ["out"]
    assert write_bundle(target, exported.spec, files, {"n": 2}, {}).provenance == {"n": 2}
    assert os.listdir(tmp_path) == ["out"]


def test_what_is_no_bundle_is_never_replaced(exported: Bundle, tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(BundleError, match="is not a bundle"):
        write_bundle(tmp_path, exported.spec, {}, {}, {})
    assert (tmp_path / "thesis.txt").exists()


def test_calibration_is_added_under_the_manifest(copied: Path) -> None:
    before = Bundle.open(copied)
    after = add_file(before, "calibration.json", b'{"temperature": 1.5}')
    assert after.calibration() == {"temperature": 1.5}
    assert after.sha256 != before.sha256
    flip(copied / "calibration.json", 3)
    with pytest.raises(BundleError, match=r"calibration\.json"):
        Bundle.open(copied)


@pytest.mark.parametrize("content", [b"[" * 200_000, b"\xff", b"{"])
def test_a_calibration_that_is_no_json_is_refused_by_name(copied: Path, content: bytes) -> None:
    with pytest.raises(BundleError, match=r"calibration\.json .* is damaged"):
        add_file(Bundle.open(copied), "calibration.json", content).calibration()
