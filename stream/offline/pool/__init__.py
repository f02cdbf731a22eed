"""Processes that do one piece of work after the other, and the parent's end of them."""
