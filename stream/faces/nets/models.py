"""MediaPipe's face nets, run by OpenVINO: without MediaPipe's start-up, its log noise on stderr and its memory."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stream.faces.nets.files import FILES, FOLDER
from stream.faces.settings import FaceError

# name -> (input side px, input value range)
MODELS: dict[str, tuple[int, tuple[float, float]]] = {
    "short": (128, (-1.0, 1.0)),
    "full": (192, (-1.0, 1.0)),
    "landmark": (192, (0.0, 1.0)),
}
_INSTALL = "pip install --force-reinstall dferstream, or in a checkout: python stream/faces/nets/provide.py"


def model_path(name: str) -> Path:
    """Find a net among the program's own files and check that it is the one this code decodes.

    Args:
        name: ``short``, ``full`` or ``landmark``.

    Returns:
        The file's path.

    Raises:
        FaceError: If it is missing or has other bytes.
    """
    net = FILES[name]
    path = FOLDER / net.name
    try:
        data = path.read_bytes()
    except FileNotFoundError as error:
        raise FaceError(f"the face net {path} is missing", _INSTALL) from error
    if hashlib.sha256(data).hexdigest() != net.sha256:
        raise FaceError(f"{path} is not the expected net", _INSTALL)
    return path


def _graph(path: Path, values: tuple[float, float]) -> Any:
    """OpenVINO's model of a file, taking ``(1, S, S, 3)`` uint8 and mapping 0..255 to a range of values."""
    import openvino as ov
    from openvino.preprocess import PrePostProcessor

    from engine.backends.compiled import core

    low, high = values
    steps = PrePostProcessor(core().read_model(path))
    steps.input().tensor().set_element_type(ov.Type.u8).set_layout(ov.Layout("NHWC"))
    # (x - mean) / scale maps 0..255 to low..high.
    scale = 255.0 / (high - low)
    convert = steps.input().preprocess().convert_element_type(ov.Type.f32)
    if low:
        convert.mean(-low * scale)
    convert.scale(scale)
    return steps.build()


class Net:
    """One model, compiled for one CPU thread, fed with RGB uint8.

    Args:
        name: A key of :data:`MODELS`.
    """

    def __init__(self, name: str) -> None:
        import openvino as ov

        from engine.backends.compiled import compile_graph, release_kept

        path = model_path(name)
        self.side_px, values = MODELS[name]
        try:
            compiled = compile_graph(
                lambda: _graph(path, values),
                f"{FILES[name].sha256} {values}",
                {
                    "INFERENCE_NUM_THREADS": 1,
                    "NUM_STREAMS": 1,
                    # OpenVINO would pick bf16 or f16 where the CPU has them: landmarks would move by pixels.
                    "INFERENCE_PRECISION_HINT": "f32",
                    # Pinned, every net of every process waits for the same core.
                    "ENABLE_CPU_PINNING": False,
                },
            )
        except RuntimeError as error:
            raise FaceError(f"OpenVINO cannot run {path}: {error}") from error
        self._request: Any = compiled.create_infer_request()
        # Bound once: per-call binding of inputs costs more than copying 110 kB.
        self._input = np.zeros((1, self.side_px, self.side_px, 3), np.uint8)
        self._request.set_input_tensor(ov.Tensor(self._input, shared_memory=True))
        self._outputs: dict[str, NDArray[np.float32]] = {}
        self._request.infer()  # the first call is 20-90 ms: before ready
        release_kept()
        for index, output in enumerate(compiled.outputs):
            self._outputs[output.get_any_name()] = self._request.get_output_tensor(index).data

    def run(self, image: NDArray[np.uint8]) -> dict[str, NDArray[np.float32]]:
        """Run the net on one image.

        Args:
            image: ``(side_px, side_px, 3)`` uint8 RGB.

        Returns:
            Output tensors by name, float32. Views that the next call overwrites.
        """
        self._input[0] = image
        self._request.infer()
        return self._outputs
