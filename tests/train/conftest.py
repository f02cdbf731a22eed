"""One thread: faster for small models, no waiting for another test run's threads, and sums keep their order."""

import pytest
import torch


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    # Before each: a test before it in the same process may have left another count, and losses differ with it.
    torch.set_num_threads(1)
