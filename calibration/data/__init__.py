"""Held-out answers with their truth, as files give them."""

from calibration.data.heldout import Heldout, read
from calibration.data.truth import Truth, TruthTable, read_truth

__all__ = ["Heldout", "Truth", "TruthTable", "read", "read_truth"]
