"""What a back end runs: a bundle, or an engine directory that was built from one."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from engine.bundle.files import MOST_JSON_BYTES, BundleError
from engine.bundle.golden import Golden
from engine.files import read_file
from engine.spec import ModelSpec


@dataclass(frozen=True)
class Artefact(ABC):
    """A directory with two graphs or plans, their golden vectors and a manifest; every file of it was checked.

    Attributes:
        path: The directory.
        spec: What the model expects and answers.
        sha256: Hex SHA-256 of ``bundle.json``, which pins every other file: the model's identity.
        metrics: How good the model was where it was measured.
        files: Hex SHA-256 by file name; nothing else in the directory is ever read.
    """

    path: Path
    spec: ModelSpec
    sha256: str
    metrics: Mapping[str, Any] = field(default_factory=dict, kw_only=True)
    files: Mapping[str, str] = field(default_factory=dict, kw_only=True)

    @abstractmethod
    def graph(self, part: str) -> Path:
        """The graph or plan of a part, ``encoder`` or ``head``."""

    @property
    def encoder(self) -> Path:
        """The encoder's graph or plan."""
        return self.graph("encoder")

    @property
    def head(self) -> Path:
        """The head's graph or plan."""
        return self.graph("head")

    def golden(self) -> Golden:
        """The golden vectors."""
        return Golden.load(self.path / "golden.npz")

    def calibration(self) -> dict[str, Any] | None:
        """What ``dfer-calibrate`` stored, or None.

        Raises:
            BundleError: If it is no JSON.
        """
        if "calibration.json" not in self.files:
            return None
        try:
            values: dict[str, Any] = json.loads(read_file(self.path / "calibration.json", MOST_JSON_BYTES))
        except (OSError, ValueError, RecursionError) as error:
            raise BundleError(
                f"calibration.json of {self.path} is damaged ({error})", "dfer-calibrate fit makes it again"
            ) from error
        return values
