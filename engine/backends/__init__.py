"""Back ends behind one protocol: OpenVINO (CPU default), ONNX Runtime, TensorRT, PyTorch CUDA graphs. They only run."""

from engine.backends.choice import NAMES, first_choice, open_backend
from engine.backends.protocol import Backend, BackendError, Features, HeadOutput
from engine.backends.runtime import open_artefact

__all__ = [
    "NAMES",
    "Backend",
    "BackendError",
    "Features",
    "HeadOutput",
    "first_choice",
    "open_artefact",
    "open_backend",
]
