"""CLIP backbone with per-layer token insertion."""
