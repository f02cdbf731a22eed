"""INT8 for CPUs: NNCF finds the encoder's ranges from captured crops; the gate decides whether it may serve."""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.bundle import Bundle
from engine.preprocess import check_batch
from engine.quiet import forbid_telemetry

MIN_CROPS = 8
_IN_FLOAT = ("Add", "Subtract", "Multiply", "Divide", "Power", "Sqrt", "ReduceMean", "ReduceSum")
_LAYERS = ("Convolution", "GroupConvolution", "MatMul")


class QuantiseError(ValueError):
    """Quantisation that cannot be done: says what is missing."""


def read_crops(path: Path | None, bundle: Bundle) -> NDArray[np.uint8]:
    """Crops to take ranges from.

    Args:
        path: ``.npz`` with an array ``crops`` of ``(n, U, S, S, 3)`` or, for U = 1, ``(n, S, S, 3)`` uint8; the
            bundle's golden crops if None.
        bundle: Gives the expected shape.

    Returns:
        ``(n, U, S, S, 3)`` uint8.

    Raises:
        QuantiseError: If the file is unreadable, has no ``crops`` or too few.
        CropError: If they are of another shape.
    """
    if path is None:
        return bundle.golden().crops
    try:
        with np.load(path, allow_pickle=False) as archive:
            crops = archive["crops"]
    except (OSError, ValueError, KeyError) as error:
        raise QuantiseError(f"{path} must be an .npz with an array 'crops': {error}") from error
    if crops.ndim == 4 and bundle.spec.unit == 1:
        crops = crops[:, None]
    crops = check_batch(crops, bundle.spec)
    if len(crops) < MIN_CROPS:
        raise QuantiseError(f"{path} has {len(crops)} crops; take {MIN_CROPS} or more, better 300")
    return crops


def quantise(bundle: Bundle, folder: Path, crops: Path | None = None) -> None:
    """Quantise a bundle's encoder to INT8 and write it as ``encoder.xml`` and ``encoder.bin``.

    The head stays in FP32: it is small, and its cosines at a temperature of 0.01 do not survive eight bits.

    Args:
        bundle: The model.
        folder: Where the two files go.
        crops: ``.npz`` of captured crops, see :func:`read_crops`.

    Raises:
        QuantiseError: If NNCF is not installed or the crops cannot be used.
    """
    forbid_telemetry()
    try:
        import nncf
        import openvino as ov
    except ImportError as error:
        raise QuantiseError(f"INT8 needs the int8 extra: pip install 'dferstream[int8]' ({error})") from error
    nncf.set_log_level("ERROR")
    ranges = read_crops(crops, bundle)
    model = ov.Core().read_model(str(bundle.encoder))
    dataset = nncf.Dataset([ranges[i : i + 1] for i in range(len(ranges))])
    with contextlib.redirect_stdout(sys.stderr):  # its progress bars are not our answer
        quantised = nncf.quantize(
            model,
            dataset,
            subset_size=min(len(ranges), 300),
            preset=nncf.QuantizationPreset.MIXED,
            model_type=nncf.ModelType.TRANSFORMER,  # its smoothing helps convolutions too
            ignored_scope=nncf.IgnoredScope(types=list(_IN_FLOAT), names=_sensitive(model), validate=False),
        )
    ov.save_model(quantised, str(folder / "encoder.xml"), compress_to_fp16=False)


def _sensitive(model: Any) -> list[str]:
    """The first two weight layers and the last: eight bits of pixels and of features cost more than they save."""
    layers = [op.get_friendly_name() for op in model.get_ordered_ops() if op.get_type_name() in _LAYERS]
    return [*layers[:2], *layers[-1:]]
