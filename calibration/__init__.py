"""calibration: makes the scores mean what they say."""
