"""From a tracked face to a scored window: crop, sample clock, whose turn, encode, keep, score."""
