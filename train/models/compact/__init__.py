"""Encoders of grey stills: the default model's, the one that teaches it, and how they grow."""
