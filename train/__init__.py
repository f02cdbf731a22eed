"""train: CLIP-based dynamic facial expression models, their data, training loop and evaluation."""
