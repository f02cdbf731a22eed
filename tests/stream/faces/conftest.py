"""One tracker for the tests of faces: loading its nets takes most of a second."""

from __future__ import annotations

import pytest

from stream.faces import FaceTracker


@pytest.fixture(scope="session")
def loaded_tracker() -> FaceTracker:
    """Whatever it was used for before; for fixtures of a wider scope."""
    return FaceTracker()


@pytest.fixture
def tracker(loaded_tracker: FaceTracker) -> FaceTracker:
    """As new."""
    loaded_tracker.begin()
    return loaded_tracker
