"""Labelled clips: the layouts of the public data sets, one's own files, and synthetic clips with known truth."""
