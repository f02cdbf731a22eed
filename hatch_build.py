"""Hatchling's hook: before anything is built, the face nets lie in the tree.

The wheel, the sdist and the editable install then take them from there (``artifacts`` in pyproject.toml), so a wheel
that is built from an sdist downloads nothing.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class FaceNetsHook(BuildHookInterface[Any]):  # type: ignore[misc]
    """Calls ``stream/faces/nets/provide.py``, loaded by its path: a hook has no package round it."""

    PLUGIN_NAME = "custom"

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Before each build of any kind.

        Args:
            version: ``standard`` or ``editable``.
            build_data: Left as it is.
        """
        del version, build_data
        spec = importlib.util.spec_from_file_location("provide", Path(self.root, "stream/faces/nets/provide.py"))
        assert spec is not None
        assert spec.loader is not None
        face_nets = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(face_nets)
        try:
            face_nets.provide(Path(self.root))
        except face_nets.FaceNetsError as error:
            self.app.abort(str(error))
