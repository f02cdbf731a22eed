"""Milliseconds per step, beside floors and the naive recompute."""
