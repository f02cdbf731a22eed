"""Rules that a graph must keep so that TensorRT builds it and FP16 stays correct."""

from engine.check.contract import contract

__all__ = ["contract"]
