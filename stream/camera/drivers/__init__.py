"""One module per kind of source; each runs in the capture process."""
