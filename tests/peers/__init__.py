"""Who else reads expressions from a camera, beside ours on the same clips: ``make bench-peers``."""
