"""The models: unit encoder and window head."""
