"""One's own clips: a folder read as it lies, looked at for faults, and dealt into parts that share nobody."""
