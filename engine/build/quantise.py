"""INT8 for CPUs: NNCF finds the encoder's ranges from captured crops; the gate decides whether it may serve."""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.build.options import BuildError
from engine.bundle.bundle import Bundle
from engine.preprocess import check_batch

MIN_CROPS = 8
_MOST = 300
_IN_FLOAT = ("Add", "Subtract", "Multiply", "Divide", "Power", "Sqrt", "ReduceMean", "ReduceSum")
_LAYERS = ("Convolution", "GroupConvolution", "MatMul")


def read_crops(path: Path | None, bundle: Bundle) -> NDArray[np.uint8]:
    """Crops to take ranges from.

    Args:
        path: ``.npz`` with an array ``crops`` of ``(n, U, S, S, 3)`` or, for U = 1, ``(n, S, S, 3)`` uint8; the
            bundle's golden crops if None.
        bundle: Gives the expected shape.

    Returns:
        ``(n, U, S, S, 3)`` uint8.

    Raises:
        BuildError: If the file is unreadable, has no ``crops`` or too few.
        CropError: If they are of another shape.
    """
    if path is None:
        return bundle.golden().crops
    try:
        with np.load(path, allow_pickle=False) as archive:
            crops = archive["crops"]
    except (OSError, ValueError, KeyError) as error:
        raise BuildError(f"{path} must be an .npz with an array 'crops': {error}") from error
    if crops.ndim == 4 and bundle.spec.unit == 1:
        crops = crops[:, None]
    crops = check_batch(crops, bundle.spec)
    if len(crops) < MIN_CROPS:
        raise BuildError(f"{path} has {len(crops)} crops", f"take {MIN_CROPS} or more, better 300")
    return crops


def quantise(bundle: Bundle, folder: Path, crops: Path | None = None) -> str:
    """Quantise a bundle's encoder to INT8 and write it as ``encoder.xml`` and ``encoder.bin``.

    The head stays in FP32: it is small, and its cosines at a temperature of 0.01 do not survive eight bits. An
    activation's range is either the largest value that any crop gives or the mean of each crop's largest. The first
    keeps a channel that seldom speaks up, the second resolution where single values dwarf the rest, and which of them
    an encoder needs only shows: both are tried, and the one whose features lie nearer to FP32's is written.

    Args:
        bundle: The model.
        folder: Where the two files go.
        crops: ``.npz`` of captured crops, see :func:`read_crops`; a quarter of them only judges where there are
            enough. Then the gate's golden crops stay unseen.

    Returns:
        What was tried and which was taken, for the log.

    Raises:
        BuildError: If NNCF is not installed or the crops cannot be used.
    """
    try:
        import nncf
        import openvino as ov
        from nncf.quantization.range_estimator import RangeEstimatorParametersSet as Ranges
    except ImportError as error:
        raise BuildError(f"INT8 needs the int8 extra ({error})", "pip install 'dferstream[int8]'") from error
    nncf.set_log_level("ERROR")
    taken, judged = split_crops(read_crops(crops, bundle))
    core = ov.Core()
    wanted = _features(core.read_model(str(bundle.encoder)), judged)
    dataset = nncf.Dataset([taken[i : i + 1] for i in range(len(taken))])
    found: dict[str, tuple[float, Any]] = {}
    for name, ranges in (("the largest", Ranges.MINMAX), ("the mean largest", Ranges.MEAN_MINMAX)):
        model = core.read_model(str(bundle.encoder))
        with contextlib.redirect_stdout(sys.stderr):  # its progress bars are not our answer
            quantised = nncf.quantize(
                model,
                dataset,
                subset_size=len(taken),
                preset=nncf.QuantizationPreset.MIXED,
                model_type=nncf.ModelType.TRANSFORMER,  # has layers smoothed
                ignored_scope=nncf.IgnoredScope(types=list(_IN_FLOAT), names=_sensitive(model), validate=False),
                advanced_parameters=nncf.AdvancedQuantizationParameters(
                    activations_range_estimator_params=ranges,
                    # Convolutions are left out by default; moving half of a channel's range into its weights is free.
                    smooth_quant_alphas=nncf.AdvancedSmoothQuantParameters(convolution=0.5),
                ),
            )
        off = _features(quantised, judged) - wanted
        found[name] = (float(np.sqrt(np.square(off).mean() / max(np.square(wanted).mean(), 1e-12))), quantised)
    chosen = min(found, key=lambda name: found[name][0])
    ov.save_model(found[chosen][1], str(folder / "encoder.xml"), compress_to_fp16=False)
    return f"ranges by {chosen} value of a crop: " + ", ".join(
        f"features {100 * error:.1f} % from FP32 by {name}" for name, (error, _) in found.items()
    )


def split_crops(crops: NDArray[np.uint8]) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Crops to take ranges from, spread over all of them, and crops to judge by.

    Args:
        crops: ``(n, ...)`` in any order; fewer than 32 do both.

    Returns:
        At most 300 crops each, none of them in both.
    """
    if len(crops) < 4 * MIN_CROPS:
        return crops, crops
    judges = np.arange(len(crops)) % 4 == 3
    rest = np.flatnonzero(~judges)
    spread = np.linspace(0, len(rest) - 1, min(len(rest), _MOST)).round().astype(int)
    return crops[rest[spread]], crops[judges][:_MOST]


def _features(model: Any, crops: NDArray[np.uint8]) -> NDArray[np.float32]:
    """``(n, D)`` features of ``(n, U, S, S, 3)`` crops."""
    import openvino as ov

    run = ov.Core().compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": ov.Type.f32})
    return np.concatenate([run(crops[i : i + 1])[0] for i in range(len(crops))])


def _sensitive(model: Any) -> list[str]:
    """The first three weight layers and the last: eight bits of pixels and of features cost more than they save."""
    layers = [op.get_friendly_name() for op in model.get_ordered_ops() if op.get_type_name() in _LAYERS]
    return [*layers[:3], *layers[-1:]]
