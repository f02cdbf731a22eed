"""The same work on the machines of a Ray cluster that is there."""
