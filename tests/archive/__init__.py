"""The archive at length: generated clips, a real cluster of two nodes on this machine, and what is killed in it."""
