"""A driver policy over the public messages: attention, drowsiness, presence; what it is not, ``limits.md`` says."""
