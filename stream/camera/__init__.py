"""Camera sources, read in a child process, newest frame first."""
