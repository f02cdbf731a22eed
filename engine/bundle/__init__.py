"""Directories that travel: bundles, engine directories, and the golden vectors in both."""
