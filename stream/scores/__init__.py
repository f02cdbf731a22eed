"""From a window's logits to a steady label."""
