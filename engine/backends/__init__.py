"""Back ends behind one protocol: OpenVINO (CPU default), ONNX Runtime, TensorRT, PyTorch CUDA graphs."""

from engine.backends.choice import NAMES, open_backend
from engine.backends.protocol import Artefact, Backend, BackendError, Features, HeadOutput

__all__ = ["NAMES", "Artefact", "Backend", "BackendError", "Features", "HeadOutput", "open_backend"]
