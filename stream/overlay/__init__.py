"""Drawing what the daemon sees."""
