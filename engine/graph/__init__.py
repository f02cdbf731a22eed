"""ONNX graphs without torch: on disk, rewritten, rounded to half, checked."""
