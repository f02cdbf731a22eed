"""engine: turns a bundle into the fastest correct thing for the machine it stands on, proves it, and runs it."""
