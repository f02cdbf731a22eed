"""Directories that travel: bundles, engine directories, and the golden vectors in both."""

from engine.bundle.artefact import Artefact
from engine.bundle.bundle import Bundle, add_file, write_bundle
from engine.bundle.engine_directory import EngineDirectory
from engine.bundle.files import BundleError
from engine.bundle.golden import Golden, softmax

__all__ = [
    "Artefact",
    "Bundle",
    "BundleError",
    "EngineDirectory",
    "Golden",
    "add_file",
    "softmax",
    "write_bundle",
]
