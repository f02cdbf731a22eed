"""The face models in MediaPipe's wheel, run by OpenVINO.

MediaPipe is never imported: only its model files are used (Apache-2.0, the same bytes from 0.10.9 to 0.10.21). That
saves its start-up, its log noise on stderr and its memory; the folder's README has the figures.
"""

from __future__ import annotations

import functools
import hashlib
import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stream.faces.settings import FaceError

# name -> (path inside the mediapipe package, sha256, input side px, input value range)
MODELS: dict[str, tuple[str, str, int, tuple[float, float]]] = {
    "short": (
        "modules/face_detection/face_detection_short_range.tflite",
        "bbff11cebd1eb27a1e004cae0b0e63ec8c551cbf34a4451148b4908b8db3eca8",
        128,
        (-1.0, 1.0),
    ),
    "full": (
        "modules/face_detection/face_detection_full_range_sparse.tflite",
        "2c3728e6da56f21e21a320433396fb06d40d9088f2247c05e5635a688d45dfe1",
        192,
        (-1.0, 1.0),
    ),
    "landmark": (
        "modules/face_landmark/face_landmark.tflite",
        "1055cb9d4a9ca8b8c688902a3a5194311138ba256bcc94e336d8373a5f30c814",
        192,
        (0.0, 1.0),
    ),
}
_INSTALL = "pip install mediapipe==0.10.14"


def model_path(name: str) -> Path:
    """Find a model in the installed mediapipe wheel and check that it is the one this code decodes.

    Args:
        name: ``short``, ``full`` or ``landmark``.

    Returns:
        The file's path.

    Raises:
        FaceError: If mediapipe is not installed, or its model is missing or has other bytes.
    """
    inside, digest, _, _ = MODELS[name]
    spec = importlib.util.find_spec("mediapipe")
    if spec is None or not spec.submodule_search_locations:
        raise FaceError("the face models come with mediapipe, which is not installed", _INSTALL)
    for folder in spec.submodule_search_locations:
        path = Path(folder) / inside
        if path.is_file():
            if hashlib.sha256(path.read_bytes()).hexdigest() != digest:
                raise FaceError(f"{path} is not the expected model", _INSTALL)
            return path
    raise FaceError(f"this mediapipe carries no {inside}", _INSTALL)


@functools.cache
def _core() -> Any:
    """One OpenVINO runtime for all nets: every further one would load its plug-ins anew."""
    import openvino as ov

    return ov.Core()


class Net:
    """One model, compiled for one CPU thread, fed with RGB uint8.

    Args:
        name: A key of :data:`MODELS`.
    """

    def __init__(self, name: str) -> None:
        import openvino as ov
        from openvino.preprocess import PrePostProcessor

        path = model_path(name)
        _, _, self.side_px, (low, high) = MODELS[name]
        core = _core()
        try:
            model = core.read_model(path)
            steps = PrePostProcessor(model)
            steps.input().tensor().set_element_type(ov.Type.u8).set_layout(ov.Layout("NHWC"))
            # (x - mean) / scale maps 0..255 to low..high.
            scale = 255.0 / (high - low)
            convert = steps.input().preprocess().convert_element_type(ov.Type.f32)
            if low:
                convert.mean(-low * scale)
            convert.scale(scale)
            compiled = core.compile_model(
                steps.build(),
                "CPU",
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
