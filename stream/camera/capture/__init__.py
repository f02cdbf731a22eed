"""The capture process, the slot its newest frame lies in, and the parent's watch over both."""
