"""From a window's logits to a calm label."""
