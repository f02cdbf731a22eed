"""engine: a bundle to the fastest correct thing for the machine it stands on, proven, and run."""
