"""The face nets: detectors and landmarks on regions of a frame."""
