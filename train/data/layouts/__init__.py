"""Data sets as they lie on the disk, and clips that are drawn."""
