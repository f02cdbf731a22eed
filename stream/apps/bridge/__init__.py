"""Bridges: what the daemon publishes, in the words of other systems. Each is a subscriber like any other."""
